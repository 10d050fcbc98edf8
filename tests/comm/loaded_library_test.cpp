#include "comm/loaded_library.hpp"

#include <gtest/gtest.h>

#include "comm/error.hpp"

namespace moewe {
namespace {

std::string message_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(LoadedLibrary, IsTheFirstThatIsThere) {
  const LoadedLibrary library("libm", {"libno_such_file.so.7", "libm.so.6"});
  double (*cosine)(double) = nullptr;
  library.find("cos", cosine);
  EXPECT_EQ(cosine(0.0), 1.0);
  EXPECT_EQ(message_of([&] { library.find("no_such_function", cosine); }),
            "the libm that is loaded has no no_such_function");
}

TEST(LoadedLibrary, SaysWhyThereIsNone) {
  const std::string message = message_of([] {
    LoadedLibrary("Atlantis", {"libno_such_file.so.7", "libnor_this.so.8"});
  });
  EXPECT_EQ(message.find("Atlantis cannot be loaded: libno_such_file.so.7"), 0U) << message;
}

}  // namespace
}  // namespace moewe
