#pragma once

#include <initializer_list>
#include <string>

namespace moewe {

/// A shared library that is loaded where it is first used: programs start without it, and nothing pays for it
/// that does not use it. Never closed, since such libraries keep threads.
class LoadedLibrary {
 public:
  /// From the first of `files` that can be loaded: a file's name is looked up where the system does that.
  /// Throws Error(communication) with `name`, for people, and the reason against the first file.
  LoadedLibrary(std::string name, std::initializer_list<const char*> files);

  /// Throws Error(communication) where the library has no such symbol.
  template <typename Function>
  void find(const char* symbol, Function*& function) const {
    function = reinterpret_cast<Function*>(address_of(symbol));
  }

 private:
  void* address_of(const char* symbol) const;

  std::string name_;
  void* library_ = nullptr;
};

}  // namespace moewe
