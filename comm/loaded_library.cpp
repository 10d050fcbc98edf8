#include "comm/loaded_library.hpp"

#include <dlfcn.h>
#include <fmt/format.h>
#include <utility>

#include "comm/error.hpp"

namespace moewe {

LoadedLibrary::LoadedLibrary(std::string name, std::initializer_list<const char*> files)
    : name_(std::move(name)) {
  std::string reason;
  for (const char* file : files) {
    library_ = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (library_ != nullptr) return;
    const char* const text = dlerror();
    if (reason.empty() && text != nullptr) reason = text;
  }
  throw Error(ErrorKind::communication, fmt::format("{} cannot be loaded: {}", name_, reason));
}

void* LoadedLibrary::address_of(const char* symbol) const {
  void* const address = dlsym(library_, symbol);
  if (address == nullptr)
    throw Error(ErrorKind::communication, fmt::format("the {} that is loaded has no {}", name_, symbol));
  return address;
}

}  // namespace moewe
