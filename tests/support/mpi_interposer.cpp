// Preloaded into the program under test. Stands between it and MPI:
//  - counts the bytes that this rank sends by point-to-point messages, whichever call it takes, per
//    destination and kind of message (the tag's lowest two bits), and appends them to $MOEWE_TEST_SENT at
//    MPI_Finalize: "from to kind bytes";
//  - makes MPI_Isend of rank $MOEWE_TEST_FAIL_RANK fail from its call number $MOEWE_TEST_FAIL_CALL on;
//  - makes MPI_Isend of rank $MOEWE_TEST_SLEEP_RANK take a minute from its call number $MOEWE_TEST_SLEEP_CALL
//  on;
//  - makes MPI_Finalize of rank $MOEWE_TEST_LINGER_RANK take a minute;
//  - makes every MPI_Isend of rank $MOEWE_TEST_SLOW_RANK, or of all where that is "all", take
//  $MOEWE_TEST_SLOW_US longer.

#include <cstdio>
#include <cstdlib>
#include <map>
#include <mpi.h>
#include <string_view>
#include <tuple>
#include <unistd.h>

namespace {

std::map<std::tuple<int, int>, long long> sent_bytes;  // by destination and kind

int own_rank() {
  int rank = 0;
  PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}

int number_from(const char* variable) {
  const char* text = std::getenv(variable);
  return text == nullptr ? -1 : std::atoi(text);
}

/// A rank and the number of a call, as two variables tell.
class ChosenCall {
 public:
  ChosenCall(const char* rank, const char* call)
      : is_chosen_(own_rank() == number_from(rank)), calls_left_(number_from(call)) {}

  bool is_reached() { return is_chosen_ && calls_left_-- <= 0; }

 private:
  bool is_chosen_;
  int calls_left_;
};

bool is_to_fail() {
  static ChosenCall chosen("MOEWE_TEST_FAIL_RANK", "MOEWE_TEST_FAIL_CALL");
  return chosen.is_reached();
}

constexpr unsigned minute = 60;

void sleep_if_chosen() {
  static ChosenCall chosen("MOEWE_TEST_SLEEP_RANK", "MOEWE_TEST_SLEEP_CALL");
  if (chosen.is_reached()) sleep(minute);
}

void slow_down() {
  static const int micros = number_from("MOEWE_TEST_SLOW_US");
  static const char* const slow = std::getenv("MOEWE_TEST_SLOW_RANK");
  static const bool is_slow =
      slow != nullptr && (std::string_view(slow) == "all" || std::atoi(slow) == own_rank());
  if (is_slow) usleep(static_cast<useconds_t>(micros));
}

void add(int count, MPI_Datatype type, int to, int tag) {
  int type_bytes = 0;
  PMPI_Type_size(type, &type_bytes);
  sent_bytes[{to, tag % 4}] += static_cast<long long>(count) * type_bytes;
}

}  // namespace

extern "C" int MPI_Isend(const void* data, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm,
                         MPI_Request* request) {
  if (is_to_fail()) return MPI_ERR_OTHER;
  sleep_if_chosen();
  slow_down();
  add(count, type, to, tag);
  return PMPI_Isend(data, count, type, to, tag, comm, request);
}

extern "C" int MPI_Issend(const void* data, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm,
                          MPI_Request* request) {
  add(count, type, to, tag);
  return PMPI_Issend(data, count, type, to, tag, comm, request);
}

extern "C" int MPI_Send(const void* data, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm) {
  add(count, type, to, tag);
  return PMPI_Send(data, count, type, to, tag, comm);
}

extern "C" int MPI_Ssend(const void* data, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm) {
  add(count, type, to, tag);
  return PMPI_Ssend(data, count, type, to, tag, comm);
}

extern "C" int MPI_Finalize() {
  if (const char* path = std::getenv("MOEWE_TEST_SENT")) {
    std::FILE* file = std::fopen(path, "a");
    for (const auto& [key, bytes] : sent_bytes) {
      std::fprintf(file, "%d %d %d %lld\n", own_rank(), std::get<0>(key), std::get<1>(key), bytes);
    }
    std::fclose(file);
  }
  if (own_rank() == number_from("MOEWE_TEST_LINGER_RANK")) sleep(minute);
  return PMPI_Finalize();
}
