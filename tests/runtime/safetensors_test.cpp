#include "runtime/safetensors.hpp"

#include <array>
#include <cstring>
#include <fstream>
#include <gtest/gtest.h>

#include "comm/error.hpp"
#include "runtime/safetensors_writer.hpp"
#include "tests/support/temporary_folder.hpp"

namespace moewe {
namespace {

std::string with_length(std::uint64_t length, const std::string& rest) {
  std::string file(sizeof length, '\0');
  std::memcpy(file.data(), &length, sizeof length);
  return file + rest;
}

std::string with_header(const std::string& header, std::size_t num_data_bytes) {
  return with_length(header.size(), header + std::string(num_data_bytes, '\0'));
}

TensorMap parse(const std::string& file) { return parse_safetensors(std::as_bytes(std::span(file)), "FILE"); }

/// The reference implementation's name of the error, which ends the message; "" if there is none.
std::string error_of(const std::string& file) {
  try {
    parse(file);
  } catch (const InvalidInput& error) {
    const std::string text = error.what();
    EXPECT_EQ(text.rfind("FILE", 0), 0U) << text;
    for (const char* name :
         {"HeaderTooSmall", "HeaderTooLarge", "InvalidHeaderLength", "InvalidHeaderDeserialization",
          "InvalidHeader", "InvalidOffset", "ValidationOverflow", "MisalignedSlice", "TensorInvalidInfo",
          "MetadataIncompleteBuffer"}) {
      if (text.find("(" + std::string(name) + ")") != std::string::npos) return name;
    }
    return text;
  }
  return "";
}

const std::string one_tensor = R"({"test":{"dtype":"I32","shape":[2,2],"data_offsets":[0,16]}})";

std::string tensor(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"test":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
}

TEST(Safetensors, ReadsWellFormedFiles) {
  const std::string file = with_header(one_tensor, 16);
  const TensorMap tensors = parse(file);
  ASSERT_EQ(tensors.size(), 1U);
  const TensorView& test = tensors.at("test");
  EXPECT_EQ(test.dtype, "I32");
  EXPECT_EQ(test.shape, (std::vector<std::size_t>{2, 2}));
  EXPECT_EQ(test.data.size(), 16U);
  EXPECT_EQ(reinterpret_cast<const char*>(test.data.data()), file.data() + 8 + one_tensor.size());

  EXPECT_TRUE(parse(with_header("{}\r \t\n", 0)).empty());
  EXPECT_TRUE(parse(with_header("\t\n{}\r ", 0)).empty());
  EXPECT_TRUE(parse(with_header(R"({"__metadata__":{"framework":"pt"}})", 0)).empty());
  EXPECT_EQ(parse(with_header(tensor("I32", "[2,0]", "[0, 0]"), 0)).at("test").num_elements(), 0U);
  const std::string rank_0 = with_header(tensor("F64", "[]", "[0,8]"), 8);
  EXPECT_EQ(parse(rank_0).at("test").num_elements(), 1U);
  const std::string nibbles = with_header(tensor("F4", "[1,2]", "[0,1]"), 1);
  EXPECT_EQ(parse(nibbles).at("test").data.size(), 1U);
}

// The malformed files of the reference implementation's own tests, and what it says of them.
TEST(Safetensors, RefusesMalformedFilesAsTheReferenceDoes) {
  EXPECT_EQ(error_of(""), "HeaderTooSmall");
  EXPECT_EQ(error_of("1234567"), "HeaderTooSmall");
  EXPECT_EQ(error_of(std::string("<\0\0\0\0\xFF\xFF\xFF", 8) + one_tensor + std::string(16, '\0')),
            "HeaderTooLarge");
  EXPECT_EQ(error_of(with_length(60, "")), "InvalidHeaderLength");
  EXPECT_EQ(error_of(with_length(UINT64_MAX, "")), "HeaderTooLarge");
  EXPECT_EQ(error_of(with_header("\xFF", 0)), "InvalidHeader");
  EXPECT_EQ(error_of(with_header("{", 0)), "InvalidHeader");
  EXPECT_EQ(error_of(with_header("[]", 0)), "InvalidHeaderDeserialization");
  EXPECT_EQ(error_of(with_header(one_tensor, 16) + "extra_bogus_data_for_polyglot_file"),
            "MetadataIncompleteBuffer");
  EXPECT_EQ(error_of(with_header(one_tensor, 14)), "MetadataIncompleteBuffer");
  EXPECT_EQ(error_of(with_header(tensor("I32", "[2,2]", "[0, 4]"), 4)), "TensorInvalidInfo");
  EXPECT_EQ(error_of(with_header(tensor("I32", "[2,18446744073709551614]", "[0,16]"), 16)),
            "ValidationOverflow");
  EXPECT_EQ(error_of(with_header(tensor("I32", "[2,9223372036854775807]", "[0,16]"), 16)),
            "ValidationOverflow");
  EXPECT_EQ(error_of(with_header(tensor("F4", "[1,3]", "[0,2]"), 2)), "MisalignedSlice");
  EXPECT_EQ(error_of(with_header(tensor("F33", "[1]", "[0,4]"), 4)), "InvalidHeaderDeserialization");
  EXPECT_EQ(error_of(with_header(tensor("I32", "[-2,2]", "[0,16]"), 16)), "InvalidHeaderDeserialization");
  EXPECT_EQ(error_of(with_header(tensor("I32", "[2.5,2]", "[0,16]"), 16)), "InvalidHeaderDeserialization");
  EXPECT_EQ(error_of(with_header(R"({"test":{"dtype":"I32","shape":[2,2]}})", 16)),
            "InvalidHeaderDeserialization");
  EXPECT_EQ(error_of(with_header(R"({"__metadata__":{"framework":1}})", 0)), "InvalidHeaderDeserialization");
  EXPECT_EQ(error_of(with_header(tensor("I32", "[2,2]", "[4,20]"), 20)), "InvalidOffset");
  EXPECT_EQ(error_of(with_header(tensor("I32", "[2,2]", "[0,9223372036854775807]"), 16)),
            "TensorInvalidInfo");
}

TEST(Safetensors, RefusesTensorsOverTheSameBytes) {
  std::string header = "{";
  for (int i = 0; i < 10; ++i) {
    header += R"("weight_)" + std::to_string(i) + R"(":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]})" +
              (i < 9 ? "," : "}");
  }
  EXPECT_EQ(error_of(with_header(header, 16)), "InvalidOffset");
}

TEST(Safetensors, RefusesWhatTheReferenceLetsPass) {
  const std::string entry = R"("t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  EXPECT_NE(error_of(with_header("{" + entry + "," + entry + "}", 1)), "");
  EXPECT_NE(error_of(with_header(R"({"a\u0000b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1)), "");
  EXPECT_NE(error_of(with_header(tensor("U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]"), 1)), "");
  EXPECT_NE(error_of(with_header(std::string(100000, '['), 0)), "");
}

TEST(SafetensorsFile, NamesFileAndTensorInItsErrors) {
  const test::TemporaryFolder folder;
  const std::string path = (folder / "a.safetensors").string();
  std::ofstream(path, std::ios::binary) << with_header(one_tensor, 16);
  const SafetensorsFile file(path);
  const std::array<std::size_t, 2> wrong{4, 1};
  const auto text_of_error = [&](const char* name) {
    try {
      (void)file.require(name, wrong);
    } catch (const InvalidInput& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(text_of_error("other"), path + ": tensor 'other' is missing");
  EXPECT_EQ(text_of_error("test"), path + ": tensor 'test' has shape [2, 2] instead of [4, 1]");
  EXPECT_THROW(SafetensorsFile(folder / "none"), InvalidInput);
  EXPECT_THROW(SafetensorsFile(folder.path()), InvalidInput);
  std::ofstream(folder / "empty");
  EXPECT_THROW(SafetensorsFile(folder / "empty"), InvalidInput);
}

TEST(ReadF32, ReadsFloatsAndWidensBf16FromUnalignedBytes) {
  std::array<char, 9> bytes{};
  const float value = -1.5F;
  std::memcpy(bytes.data() + 1, &value, 4);
  std::memcpy(bytes.data() + 5, reinterpret_cast<const char*>(&value) + 2, 2);
  std::memcpy(bytes.data() + 7, reinterpret_cast<const char*>(&value) + 2, 2);
  const auto all = std::as_bytes(std::span(bytes));
  std::array<float, 1> f32{};
  read_f32({"F32", {1}, all.subspan(1, 4)}, "t", 0, f32);
  EXPECT_EQ(f32[0], value);
  std::array<float, 2> wide{};
  read_f32({"BF16", {2}, all.subspan(5, 4)}, "t", 0, wide);
  EXPECT_EQ(wide, (std::array<float, 2>{value, value}));
  EXPECT_THROW(read_f32({"F16", {1}, all.subspan(1, 2)}, "t", 0, f32), InvalidInput);
}

TEST(SafetensorsWriter, WritesWhatTheReaderReads) {
  const test::TemporaryFolder folder;
  const std::vector<float> values{1.0F, 2.0F, 3.0F};
  const std::vector<std::int32_t> ids{7, -7};
  {
    SafetensorsWriter writer(folder / "out",
                             {{"values", "F32", {1, 3}}, {"none", "F32", {0, 5}}, {"ids", "I32", {2}}});
    writer.append(std::as_bytes(std::span(values)));
    writer.append(std::as_bytes(std::span(ids)));
    EXPECT_FALSE(std::filesystem::exists(folder / "out"));
    writer.commit();
  }
  const SafetensorsFile file(folder / "out");
  EXPECT_EQ(file.tensors().size(), 3U);
  std::vector<float> read(3);
  read_f32(*file.find("values"), "values", 0, read);
  EXPECT_EQ(read, values);
  EXPECT_EQ(std::memcmp(file.find("ids")->data.data(), ids.data(), 8), 0);
}

TEST(SafetensorsWriter, LeavesNothingThatLooksWholeBehind) {
  const test::TemporaryFolder folder;
  {
    SafetensorsWriter writer(folder / "out", {{"values", "F32", {4}}});
    writer.append(std::vector<std::byte>(8));
    EXPECT_THROW(writer.commit(), Error);
    EXPECT_THROW(writer.append(std::vector<std::byte>(9)), Error);
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  EXPECT_THROW(SafetensorsWriter(folder / "no/such", {}), InvalidInput);
}

}  // namespace
}  // namespace moewe
