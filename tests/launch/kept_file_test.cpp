#include "launch/kept_file.hpp"

#include <algorithm>
#include <gtest/gtest.h>

#include "comm/error.hpp"
#include "tests/support/program.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/support/tensor_files.hpp"

namespace moewe {
namespace {

using test::TemporaryFolder;

constexpr std::size_t state_bytes = 40;
const std::string run = "--seed 1\n--steps 100\n";

std::vector<std::byte> state(std::uint64_t number) {
  return std::vector<std::byte>(state_bytes, static_cast<std::byte>(number));
}

KeptFile open_file(const TemporaryFolder& folder) { return {folder / "kept", run, state_bytes}; }

void keep(const TemporaryFolder& folder, std::uint64_t first, std::uint64_t last) {
  KeptFile file = open_file(folder);
  for (std::uint64_t number = first; number <= last; ++number) file.keep(number, state(number));
}

/// The number of the state that is there, if it is what was kept under it; 0 for none.
std::uint64_t resumed(const TemporaryFolder& folder) {
  const auto kept = open_file(folder).resume();
  if (!kept) return 0;
  EXPECT_EQ(kept->bytes, state(kept->number));
  return kept->number;
}

std::string refusal(const TemporaryFolder& folder, const std::string& other_run = run,
                    std::size_t other_bytes = state_bytes) {
  try {
    KeptFile(folder / "kept", other_run, other_bytes).resume();
  } catch (const InvalidInput& error) {
    return error.what();
  }
  return "";
}

TEST(KeptFile, HoldsTheLatestState) {
  const TemporaryFolder folder;
  EXPECT_EQ(resumed(folder), 0U);
  for (std::uint64_t last = 1; last <= 5; ++last) {
    keep(folder, 1, last);
    EXPECT_EQ(resumed(folder), last);
  }
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(KeptFile, IsGoneOnWith) {
  const TemporaryFolder folder;
  keep(folder, 1, 3);
  {
    KeptFile file = open_file(folder);
    EXPECT_EQ(file.resume()->number, 3U);
    file.keep(4, state(4));
  }
  EXPECT_EQ(resumed(folder), 4U);
}

TEST(KeptFile, IsBegunAnewWhereItIsNotResumed) {
  const TemporaryFolder folder;
  keep(folder, 1, 3);
  keep(folder, 1, 1);
  EXPECT_EQ(resumed(folder), 1U);
}

TEST(KeptFile, IsRemovedOnceTheRunIsDone) {
  const TemporaryFolder folder;
  KeptFile file = open_file(folder);
  file.remove();  // nothing yet
  file.keep(1, state(1));
  file.remove();
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

/// Whatever part of it is lost or changed: it is refused, or nothing that counts has changed.
TEST(KeptFile, IsRefusedWhereItIsDamaged) {
  const TemporaryFolder folder;
  keep(folder, 1, 2);
  const std::string whole = test::read_file(folder / "kept");
  std::size_t num_harmless = 0;
  for (std::size_t i = 0; i < whole.size(); ++i) {
    test::write_bytes(folder / "kept", whole.substr(0, i));
    EXPECT_NE(refusal(folder), "") << i;
    std::string changed = whole;
    changed[i] = static_cast<char>(changed[i] ^ 4);
    test::write_bytes(folder / "kept", changed);
    if (!refusal(folder).empty()) continue;
    EXPECT_EQ(resumed(folder), 2U) << i;
    ++num_harmless;
  }
  EXPECT_EQ(num_harmless, state_bytes + sizeof(std::uint64_t));  // the state before the last
  test::write_bytes(folder / "kept", whole + "x");
  EXPECT_NE(refusal(folder).find("is damaged"), std::string::npos);
}

TEST(KeptFile, OfAnotherRunIsRefusedWithTheDifference) {
  const TemporaryFolder folder;
  keep(folder, 1, 2);
  EXPECT_EQ(refusal(folder, "--seed 2\n--steps 100\n"),
            (folder / "kept").string() +
                ": was kept by a run with --seed 1, and this one has --seed 2; --resume needs the same");
  EXPECT_NE(refusal(folder, "--seed 1\n--steps 99\n").find("--steps 100, and"), std::string::npos);
  EXPECT_NE(refusal(folder, run, state_bytes + 8).find("another version"), std::string::npos);
}

TEST(KeptFile, IsWrittenByOneRunAtATime) {
  const TemporaryFolder folder;
  {
    KeptFile file = open_file(folder);
    file.keep(1, state(1));
    EXPECT_NE(refusal(folder).find("is still written"), std::string::npos);
  }
  EXPECT_EQ(resumed(folder), 1U);
}

TEST(KeptFile, TakesNoOtherFilesPlace) {
  const TemporaryFolder folder;
  for (const char* text : {"", "moewe", "moewe k", "something else"}) {
    test::write_bytes(folder / "kept", text);
    EXPECT_THROW(open_file(folder), InvalidInput) << text;
    EXPECT_EQ(test::read_file(folder / "kept"), text);
  }
}

TEST(KeptFile, OfANameThatCannotBeIsRefusedAtOnce) {
  const TemporaryFolder folder;
  EXPECT_THROW(KeptFile(folder / std::string(300, 'x'), run, state_bytes), InvalidInput);
}

}  // namespace
}  // namespace moewe
