// What a path that is written leads to: links followed, other things than files refused, two names of one
// file told apart from two files.

#include "runtime/write_target.hpp"

#include <algorithm>
#include <fcntl.h>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "comm/error.hpp"
#include "runtime/atomic_file.hpp"
#include "tests/support/temporary_folder.hpp"

namespace moewe {
namespace {

namespace fs = std::filesystem;
using test::TemporaryFolder;

std::string text_in(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write(const fs::path& path, const std::string& text) {
  AtomicFile file(path);
  file.append(std::as_bytes(std::span(text)));
  file.commit();
}

std::string reason_against(const fs::path& path) {
  try {
    find_write_target(path);
  } catch (const InvalidInput& refusal) {
    return refusal.what();
  }
  return "";
}

/// Entries of a folder, the hidden ones included.
std::size_t count_entries(const fs::path& folder) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), {}));
}

class WriteTargets : public ::testing::Test {
 protected:
  WriteTargets() : root_(fs::canonical(folder_.path())) {
    fs::create_directory(root_ / "deep");
    fs::create_directory_symlink("deep", root_ / "alias");
    std::ofstream(root_ / "deep" / "file") << "before";
  }

  TemporaryFolder folder_;
  fs::path root_;
};

TEST_F(WriteTargets, AreWhatLinksLeadTo) {
  fs::create_symlink("alias/file", root_ / "link");
  fs::create_symlink(root_ / "link", root_ / "deep" / "link");
  fs::create_symlink("../new", root_ / "deep" / "dangling");
  EXPECT_EQ(find_write_target(root_ / "deep" / "link").path, root_ / "deep" / "file");
  EXPECT_EQ(find_write_target(root_ / "alias" / "dangling").path, root_ / "new");
  EXPECT_TRUE(find_write_target(root_ / "alias" / "dangling").is_replaceable);
  write(root_ / "deep" / "link", "after");
  write(root_ / "alias" / "dangling", "made");
  EXPECT_EQ(text_in(root_ / "deep" / "file"), "after");
  EXPECT_EQ(text_in(root_ / "new"), "made");
  for (const char* link : {"link", "deep/link", "deep/dangling"}) {
    EXPECT_TRUE(fs::is_symlink(root_ / link)) << link;
  }
  EXPECT_EQ(count_entries(root_), 4U);
  EXPECT_EQ(count_entries(root_ / "deep"), 3U);
}

TEST_F(WriteTargets, AreFilesOrCharacterDevices) {
  ASSERT_EQ(mkfifo((root_ / "pipe").c_str(), 0600), 0);
  fs::create_symlink("pipe", root_ / "to-pipe");
  fs::create_symlink("circle", root_ / "circle");
  fs::create_symlink("nowhere/file", root_ / "lost");
  for (const char* name : {"pipe", "to-pipe"}) {
    EXPECT_NE(reason_against(root_ / name).find("neither a regular file nor a character device"),
              std::string::npos)
        << name << ": " << reason_against(root_ / name);
  }
  EXPECT_NE(reason_against(root_ / "circle").find("Too many levels of symbolic links"), std::string::npos);
  EXPECT_NE(reason_against(root_ / "lost").find("No such file or directory"), std::string::npos);
  EXPECT_NE(reason_against(root_ / "alias").find("Is a directory"), std::string::npos);
  EXPECT_NE(reason_against(root_ / "deep/file/below").find("Not a directory"), std::string::npos);
  EXPECT_NE(reason_against(root_ / std::string(256, 'x')).find("File name too long"), std::string::npos);
  EXPECT_FALSE(find_write_target("/dev/null").is_replaceable);
  write("/dev/null", "gone");
}

TEST_F(WriteTargets, ThatAreOpenAlreadyAreWrittenWhereTheyStand) {
  const int fd = open((root_ / "deep" / "file").c_str(), O_WRONLY | O_CLOEXEC);
  ASSERT_EQ(::write(fd, "be", 2), 2);
  fs::create_symlink("/proc/self/fd/" + std::to_string(fd), root_ / "link");
  EXPECT_FALSE(find_write_target(root_ / "link").is_replaceable);
  write(root_ / "link", "TW");
  ASSERT_EQ(::write(fd, "ix", 2), 2);
  close(fd);
  EXPECT_EQ(text_in(root_ / "deep" / "file"), "beTWix");
  EXPECT_TRUE(fs::is_symlink(root_ / "link"));
}

TEST_F(WriteTargets, AreOneFileUnderAllItsNames) {
  fs::create_hard_link(root_ / "deep" / "file", root_ / "hard");
  fs::create_symlink("deep/file", root_ / "soft");
  fs::create_symlink("deep/new", root_ / "dangling");
  for (const char* name : {"deep/./file", "alias/file", "deep/../deep/file", "hard", "soft", "deep//file"}) {
    EXPECT_TRUE(name_one_file(root_ / "deep/file", root_ / name)) << name;
  }
  for (const char* name : {"alias/new", "deep/./new", "dangling", "alias/../deep/new"}) {
    EXPECT_TRUE(name_one_file(root_ / "deep/new", root_ / name)) << name;
    EXPECT_FALSE(name_one_file(root_ / "deep/file", root_ / name)) << name;
  }
  EXPECT_FALSE(name_one_file(root_ / "new", root_ / "deep" / "new"));
}

TEST_F(WriteTargets, MayHaveTheLongestNameThereCanBe) {
  const std::string name(255, 'x');
  write(root_ / name, "long");
  EXPECT_EQ(text_in(root_ / name), "long");
}

TEST_F(WriteTargets, AreNotMixedUpWhereTwoAreWrittenAtATime) {
  AtomicFile one(root_ / "one");
  AtomicFile same(root_ / "one");
  const std::string first = "first", second = "second";
  one.append(std::as_bytes(std::span(first)));
  same.append(std::as_bytes(std::span(second)));
  one.commit();
  EXPECT_EQ(text_in(root_ / "one"), "first");
  same.commit();
  EXPECT_EQ(text_in(root_ / "one"), "second");
}

TEST_F(WriteTargets, LeaveNothingWhereTheyAreNotCommitted) {
  { const AtomicFile given_up(root_ / "deep" / "file"); }
  EXPECT_EQ(count_entries(root_ / "deep"), 1U);
  const AtomicFile unfinished(root_ / "deep" / "new");
  EXPECT_EQ(count_entries(root_ / "deep"), 2U);
  remove_unfinished_files();
  EXPECT_EQ(count_entries(root_ / "deep"), 1U);
  EXPECT_EQ(text_in(root_ / "deep" / "file"), "before");
}

}  // namespace
}  // namespace moewe
