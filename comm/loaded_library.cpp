#include "comm/loaded_library.hpp"

#include <dlfcn.h>
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
  throw Error(ErrorKind::communication, std::string(name_).append(" cannot be loaded: ").append(reason));
}

void* LoadedLibrary::address_of(const char* symbol) const {
  void* const address = dlsym(library_, symbol);
  if (address != nullptr) return address;
  std::string what = "the ";
  throw Error(ErrorKind::communication, what.append(name_).append(" that is loaded has no ").append(symbol));
}

}  // namespace moewe
