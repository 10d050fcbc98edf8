#include "runtime/safetensors.hpp"

#include <array>
#include <bit>
#include <cstring>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/stat.h>

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

/// What SafetensorsFile does with the bytes of a file, without a file.
TensorMap parse(const std::string& file) {
  const std::size_t length = parse_safetensors_prefix(std::as_bytes(std::span(file)), file.size(), "FILE");
  const std::string_view header = std::string_view(file).substr(safetensors_prefix_bytes, length);
  return parse_safetensors_header(header, file.size(), "FILE");
}

/// The reference implementation's name of the error, which ends the message; "" if there is none.
std::string error_of(const std::string& file) {
  try {
    parse(file);
  } catch (const InvalidInput& error) {
    const std::string text = error.what();
    EXPECT_EQ(text.rfind("FILE: ", 0), 0U) << text;
    EXPECT_LE(text.size(), 400U);
    const std::size_t name = text.rfind('(');
    if (name != std::string::npos && text.back() == ')') return text.substr(name + 1, text.size() - name - 2);
    return text;
  }
  return "";
}

const std::string one_tensor = R"({"test":{"dtype":"I32","shape":[2,2],"data_offsets":[0,16]}})";

std::string tensor(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"test":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
}

/// A header of one tensor, filled up with spaces to a multiple of 8 as the reference writes it.
std::string written(const std::string& name, const std::string& dtype, const std::string& shape,
                    std::size_t num_bytes) {
  std::string header = R"({")" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape +
                       R"(,"data_offsets":[0,)" + std::to_string(num_bytes) + "]}}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  return header;
}

TEST(Safetensors, ReadsWellFormedFiles) {
  const std::string file = std::string("<\0\0\0\0\0\0\0", 8) + one_tensor + std::string(16, '\0');
  const TensorMap tensors = parse(file);
  ASSERT_EQ(tensors.size(), 1U);
  const TensorInfo& test = tensors.at("test");
  EXPECT_EQ(test.dtype, "I32");
  EXPECT_EQ(test.shape, (std::vector<std::size_t>{2, 2}));
  EXPECT_EQ(test.offset, 68U);
  EXPECT_EQ(test.num_bytes, 16U);

  EXPECT_TRUE(parse(std::string("\x08\0\0\0\0\0\0\0{}      ", 16)).empty());
  EXPECT_TRUE(parse(std::string("\x06\0\0\0\0\0\0\0{}\r \t\n", 14)).empty());
  EXPECT_TRUE(parse(std::string("\x06\0\0\0\0\0\0\0\t\n{}\r ", 14)).empty());
  EXPECT_TRUE(parse(with_header(R"({"__metadata__":{"framework":"pt"}}     )", 0)).empty());
  EXPECT_TRUE(parse(with_header(R"({"__metadata__":null})", 0)).empty());
  EXPECT_TRUE(parse(with_header(R"({"__metadata__":{}})", 0)).empty());
  EXPECT_EQ(parse(with_header(tensor("I32", "[2,0]", "[0, 0]"), 0)).at("test").num_elements(), 0U);
  const std::string rank_0 = with_header(tensor("F64", "[]", "[0,8]"), 8);
  EXPECT_EQ(parse(rank_0).at("test").num_elements(), 1U);
  const std::string eight_dimensions = with_header(tensor("U8", "[1,1,1,1,1,1,1,1]", "[0,1]"), 1);
  EXPECT_EQ(parse(eight_dimensions).at("test").shape.size(), 8U);
  const std::string empty_and_huge = with_header(tensor("U8", "[0,18446744073709551615]", "[0,0]"), 0);
  EXPECT_EQ(parse(empty_and_huge).at("test").num_elements(), 0U);
}

TEST(Safetensors, ReadsTheReferencesGoldenFiles) {
  struct Golden {
    const char* name;
    const char* dtype;
    const char* shape;
    std::size_t num_bytes;
    std::size_t header_bytes;
  };
  for (const auto& [name, dtype, shape, num_bytes, header_bytes] :
       {Golden{"attn.0", "F32", "[1,2,3]", 24, 64}, Golden{"attn.0", "F4", "[1,2]", 1, 64},
        Golden{"attn0", "F32", "[1,1,2,3]", 24, 72}}) {
    const std::string header = written(name, dtype, shape, num_bytes);
    ASSERT_EQ(header.size(), header_bytes);
    const TensorInfo tensor = parse(with_header(header, num_bytes)).at(name);
    EXPECT_EQ(tensor.dtype, dtype);
    EXPECT_EQ(tensor.offset, 8 + header_bytes);
    EXPECT_EQ(tensor.num_bytes, num_bytes);
  }
}

TEST(Safetensors, PlacesTensorsByTheirOffsetsWhateverTheirOrder) {
  const TensorMap tensors = parse(with_header(
      R"({"b":{"data_offsets":[4,6],"shape":[1],"dtype":"BF16"},"__metadata__":{"k":"v"},)"
      R"("none":{"dtype":"F32","shape":[0],"data_offsets":[4,4]},"a":{"shape":[2,2],"dtype":"U8","data_offsets":[0,4]}})",
      6));
  const std::uint64_t data = tensors.at("a").offset;
  EXPECT_EQ(tensors.at("b").offset, data + 4);
  EXPECT_EQ(tensors.at("b").num_bytes, 2U);
  EXPECT_EQ(tensors.at("none").offset, data + 4);
  EXPECT_EQ(tensors.size(), 3U);
}

// The malformed files of the reference implementation's own tests, and what it says of them.
TEST(Safetensors, RefusesMalformedFilesAsTheReferenceDoes) {
  EXPECT_EQ(error_of(""), "HeaderTooSmall");
  EXPECT_EQ(error_of("1234567"), "HeaderTooSmall");
  EXPECT_EQ(error_of(std::string("<\0\0\0\0\xFF\xFF\xFF", 8) + one_tensor + std::string(16, '\0')),
            "HeaderTooLarge");
  EXPECT_EQ(error_of(with_length(100'000'001, "")), "HeaderTooLarge");
  EXPECT_EQ(error_of(with_length(100'000'000, "")), "InvalidHeaderLength");
  EXPECT_EQ(error_of(with_length(60, "")), "InvalidHeaderLength");
  EXPECT_EQ(error_of(with_length(3, "{}")), "InvalidHeaderLength");
  EXPECT_EQ(error_of(with_length(UINT64_MAX, "")), "HeaderTooLarge");
  EXPECT_EQ(error_of(with_header("{", 0)), "InvalidHeaderDeserialization");
  EXPECT_EQ(error_of(with_header("", 0)), "InvalidHeaderDeserialization");
  EXPECT_EQ(error_of(with_header("{}x", 0)), "InvalidHeaderDeserialization");
  EXPECT_EQ(error_of(with_header("{}{}", 0)), "InvalidHeaderDeserialization");
  EXPECT_EQ(error_of(with_header(one_tensor, 16) + "extra_bogus_data_for_polyglot_file"),
            "MetadataIncompleteBuffer");
  EXPECT_EQ(error_of(with_header(one_tensor, 14)), "MetadataIncompleteBuffer");
  EXPECT_EQ(error_of(with_header("{}", 1)), "MetadataIncompleteBuffer");
  EXPECT_EQ(error_of(with_header(tensor("I32", "[2,2]", "[0, 4]"), 4)), "TensorInvalidInfo");
  EXPECT_EQ(error_of(with_header(tensor("I32", "[2,2]", "[0,9223372036854775807]"), 16)),
            "TensorInvalidInfo");
  EXPECT_EQ(error_of(with_header(tensor("I32", "[2,18446744073709551614]", "[0,16]"), 16)),
            "ValidationOverflow");
  EXPECT_EQ(error_of(with_header(tensor("I32", "[2,9223372036854775807]", "[0,16]"), 16)),
            "ValidationOverflow");
  EXPECT_EQ(error_of(with_header(tensor("I32", "[9223372036854775807,4,0]", "[0,0]"), 0)),
            "ValidationOverflow");
  EXPECT_EQ(error_of(with_header(tensor("F4", "[1,3]", "[0,2]"), 2)), "MisalignedSlice");
  EXPECT_EQ(error_of(with_header(tensor("F6_E2M3", "[1]", "[0,1]"), 1)), "MisalignedSlice");
  EXPECT_EQ(error_of(with_header(tensor("I32", "[2,2]", "[4,20]"), 20)), "InvalidOffset");
  EXPECT_EQ(error_of(with_header(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                                 R"("b":{"dtype":"U8","shape":[2],"data_offsets":[4,2]}})",
                                 4)),
            "InvalidOffset");
  EXPECT_EQ(error_of(with_header(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                                 R"("b":{"dtype":"U8","shape":[2],"data_offsets":[5,7]}})",
                                 7)),
            "InvalidOffset");
}

TEST(Safetensors, RefusesHeadersThatAreNotUtf8) {
  EXPECT_EQ(error_of(with_header("\xFF", 0)), "InvalidHeader");
  for (const char* bytes : {"\xFF", "\x80", "\xC3", "\xC0\x80", "\xE0\x80\x80", "\xED\xA0\x80",
                            "\xF0\x80\x80\x80", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xE2\x82"}) {
    EXPECT_EQ(error_of(with_header(R"({"__metadata__":{"a":")" + std::string(bytes) + R"("}})", 0)),
              "InvalidHeader");
  }
  for (const char* bytes :
       {"\xC3\xB6", "\xE2\x82\xAC", "\xED\x9F\xBF", "\xF0\x9F\x90\xA6", "\xF4\x8F\xBF\xBF"}) {
    const std::string entry = R"(":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})";
    EXPECT_EQ(parse(with_header(R"({")" + std::string(bytes) + entry, 1)).count(std::string(bytes)), 1U);
  }
  EXPECT_EQ(error_of(with_header("\xEF\xBB\xBF{}", 0)), "InvalidHeaderDeserialization");
  EXPECT_EQ(error_of(with_header(std::string("{}\0", 3), 0)), "InvalidHeaderDeserialization");
}

TEST(Safetensors, RefusesHeadersOfAnotherForm) {
  const auto entry = [](const std::string& value) { return R"({"t":)" + value + "}"; };
  const std::string good = R"("dtype":"U8","shape":[1],"data_offsets":[0,1])";
  ASSERT_EQ(error_of(with_header(entry("{" + good + "}"), 1)), "");
  for (const std::string& header :
       {std::string("[]"),
        std::string("1"),
        std::string(R"("text")"),
        std::string("null"),
        entry("1"),
        entry("[]"),
        entry("null"),
        entry("{}"),
        entry(R"({"dtype":"U8","shape":[1]})"),
        entry(R"({"dtype":"U8","data_offsets":[0,1]})"),
        entry(R"({"shape":[1],"data_offsets":[0,1]})"),
        entry("{" + good + R"(,"more":1})"),
        entry("{" + good + R"(,"dtype":"U8"})"),
        entry("{" + good + R"(,"shape":[1]})"),
        entry("{" + good + R"(,"data_offsets":[0,1]})"),
        entry(R"({"dtype":"U8","shape":[1],"data_offsets":[],"data_offsets":[0,1]})"),
        entry(R"({"dtype":"U8","shape":[],"shape":[1],"data_offsets":[0,1]})"),
        entry(R"({"dtype":1,"shape":[1],"data_offsets":[0,1]})"),
        entry(R"({"dtype":"U8","shape":1,"data_offsets":[0,1]})"),
        entry(R"({"dtype":"U8","shape":"1","data_offsets":[0,1]})"),
        entry(R"({"dtype":"U8","shape":[1],"data_offsets":[0]})"),
        entry(R"({"dtype":"U8","shape":[1],"data_offsets":[0,1,1]})"),
        entry(R"({"dtype":"U8","shape":[1],"data_offsets":1})"),
        std::string(R"({"__metadata__":{"framework":1}})"),
        std::string(R"({"__metadata__":{"framework":{}}})"),
        std::string(R"({"__metadata__":{"framework":null}})"),
        std::string(R"({"__metadata__":["framework"]})"),
        std::string(R"({"__metadata__":"framework"})"),
        tensor("F33", "[1]", "[0,1]"),
        tensor("u8", "[1]", "[0,1]"),
        tensor("", "[1]", "[0,1]"),
        tensor("U8", "[-1]", "[0,1]"),
        tensor("U8", "[1.0]", "[0,1]"),
        tensor("U8", "[1e0]", "[0,1]"),
        tensor("U8", "[true]", "[0,1]"),
        tensor("U8", "[[1]]", "[0,1]"),
        tensor("U8", "[null]", "[0,1]"),
        tensor("U8", "[18446744073709551616]", "[0,1]"),
        tensor("U8", "[1]", "[-1,0]"),
        tensor("U8", "[1]", "[0.0,1]"),
        tensor("U8", "[1]", R"(["0",1])"),
        tensor("U8", "[1]", "[{},1]")}) {
    EXPECT_EQ(error_of(with_header(header, 1)), "InvalidHeaderDeserialization") << header;
  }
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
  const char* const malformed = "InvalidHeaderDeserialization";
  const std::string entry = R"("t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  EXPECT_EQ(error_of(with_header("{" + entry + "," + entry + "}", 1)), malformed);
  EXPECT_EQ(
      error_of(with_header(R"({"\u0074":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)" + entry + "}", 1)),
      malformed);
  EXPECT_EQ(error_of(with_header(R"({"__metadata__":{"a":"1","a":"1"}})", 0)), malformed);
  EXPECT_EQ(error_of(with_header(R"({"__metadata__":{},"__metadata__":{}})", 0)), malformed);
  EXPECT_EQ(error_of(with_header(R"({"a\u0000b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1)),
            malformed);
  EXPECT_EQ(error_of(with_header(tensor("U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]"), 1)), malformed);
  EXPECT_EQ(error_of(with_header(std::string(100000, '['), 0)), malformed);
  std::string deep = R"({"t":)";
  for (int i = 0; i < 100000; ++i) deep += R"({"a":)";
  EXPECT_EQ(error_of(with_header(deep, 0)), malformed);
}

TEST(Safetensors, TakesAMillionTensorsAndNotOneMore) {
#ifdef MOEWE_SANITIZED
  GTEST_SKIP() << "slow with sanitizers, which find in few tensors what they find in many";
#endif
  const auto header_of = [](std::size_t num_tensors) {
    std::string header = "{";
    for (std::size_t i = 0; i < num_tensors; ++i) {
      header += (i == 0 ? "\"" : ",\"") + std::to_string(i) +
                R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
    }
    return with_header(header + "}", 0);
  };
  EXPECT_EQ(parse(header_of(1 << 20)).size(), std::size_t{1} << 20);
  EXPECT_EQ(error_of(header_of((1 << 20) + 1)), "InvalidHeaderDeserialization");
}

TEST(Safetensors, KeepsHostileNamesOutOfItsMessages) {
  const std::string name = "a\\u001b[2J" + std::string(5000, 'x');
  const std::string file =
      with_header(R"({")" + name + R"(":{"dtype":"F32","shape":[1],"data_offsets":[0,1]}})", 1);
  try {
    parse(file);
    FAIL();
  } catch (const InvalidInput& error) {
    EXPECT_LE(std::string(error.what()).size(), 300U);
    EXPECT_EQ(std::string(error.what()).find('\x1b'), std::string::npos);
  }
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

TEST(SafetensorsFile, ReadsTheSystemsReasonIntoItsErrors) {
  const test::TemporaryFolder folder;
  const auto refusal = [](const std::filesystem::path& path) {
    try {
      const SafetensorsFile file(path);
    } catch (const InvalidInput& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(refusal(folder / "none"), (folder / "none").string() + ": No such file or directory");
  EXPECT_EQ(refusal(folder.path()), folder.path().string() + ": Is a directory");
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(refusal(folder / "pipe"), (folder / "pipe").string() + ": not a regular file");
}

/// A file of one tensor, with the given bytes.
std::filesystem::path write_tensor(const test::TemporaryFolder& folder, const std::string& dtype,
                                   std::size_t num_elements, const std::string& bytes) {
  const std::string header = written("t", dtype, "[" + std::to_string(num_elements) + "]", bytes.size());
  // one byte off, so that nothing is aligned
  std::ofstream(folder / dtype, std::ios::binary) << with_length(header.size() + 1, header + " " + bytes);
  return folder / dtype;
}

TEST(SafetensorsFile, ReadsFloatsAndWidensBf16FromUnalignedBytes) {
  const test::TemporaryFolder folder;
  const std::vector<float> values{-1.5F, 2.0F, 0.0F, -128.0F};
  std::string f32(16, '\0'), bf16;
  std::memcpy(f32.data(), values.data(), 16);
  for (std::size_t i = 0; i < 4; ++i) bf16 += f32.substr(i * 4 + 2, 2);
  const SafetensorsFile wide(write_tensor(folder, "F32", 4, f32));
  const SafetensorsFile narrow(write_tensor(folder, "BF16", 4, bf16));
  const SafetensorsFile other(write_tensor(folder, "F16", 4, bf16));
  for (const SafetensorsFile* file : {&wide, &narrow}) {
    for (std::size_t first = 0; first <= 4; ++first) {
      for (std::size_t count = 0; count <= 4 - first; ++count) {
        std::vector<float> read(count);
        file->read_f32("t", first, read);
        EXPECT_TRUE(
            std::equal(read.begin(), read.end(), values.begin() + static_cast<std::ptrdiff_t>(first)));
      }
    }
    std::vector<float> two(2);
    EXPECT_THROW(file->read_f32("t", 3, two), InvalidInput);
    EXPECT_THROW(file->read_f32("t", SIZE_MAX, two), InvalidInput);
    EXPECT_THROW(file->read_f32("u", 0, {}), InvalidInput);
  }
  EXPECT_THROW(other.read_f32("t", 0, {}), InvalidInput);
}

TEST(SafetensorsFile, WidensTensorsThatAreReadInSeveralPieces) {
  const test::TemporaryFolder folder;
  const std::size_t count = (1 << 20) + 7;
  std::string bytes;
  for (std::size_t i = 0; i < count; ++i)
    bytes += {static_cast<char>(i), static_cast<char>(0x3F + (i >> 8) % 2)};
  std::vector<float> read(count);
  SafetensorsFile(write_tensor(folder, "BF16", count, bytes)).read_f32("t", 0, read);
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const auto bits = static_cast<std::uint32_t>(((i & 0xFF) << 16) | ((0x3F + (i >> 8) % 2) << 24));
    wrong += std::bit_cast<std::uint32_t>(read[i]) != bits;
  }
  EXPECT_EQ(wrong, 0U);
}

TEST(SafetensorsFile, RefusesAFileThatShrinksWhileItIsOpen) {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = write_tensor(folder, "F32", 4, std::string(16, '\0'));
  const SafetensorsFile file(path);
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 4);
  std::vector<float> values(4);
  EXPECT_THROW(file.read_f32("t", 0, values), InvalidInput);
  EXPECT_NO_THROW(file.read_f32("t", 0, std::span(values).first(3)));
  std::filesystem::resize_file(path, 0);
  EXPECT_THROW(file.read_f32("t", 0, std::span(values).first(1)), InvalidInput);
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
  file.read_f32("values", 0, read);
  EXPECT_EQ(read, values);
  std::vector<std::int32_t> read_ids(2);
  file.read_bytes(*file.find("ids"), 0, std::as_writable_bytes(std::span(read_ids)));
  EXPECT_EQ(read_ids, ids);
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
