#include "comm/nccl/nccl_library.hpp"

#include "comm/loaded_library.hpp"

namespace moewe {
namespace {

/// Where the system finds it, else where it was when this was built.
NcclLibrary load() {
  const LoadedLibrary library("NCCL", {"libnccl.so.2", MOEWE_NCCL_LIBRARY});
  NcclLibrary nccl{};
  library.find("ncclGetVersion", nccl.get_version);
  library.find("ncclGetErrorString", nccl.get_error_string);
  library.find("ncclGetLastError", nccl.get_last_error);
  library.find("ncclGetUniqueId", nccl.get_unique_id);
  library.find("ncclCommInitRankConfig", nccl.comm_init_rank_config);
  library.find("ncclCommGetAsyncError", nccl.comm_get_async_error);
  library.find("ncclCommFinalize", nccl.comm_finalize);
  library.find("ncclCommDestroy", nccl.comm_destroy);
  library.find("ncclCommAbort", nccl.comm_abort);
  library.find("ncclGroupStart", nccl.group_start);
  library.find("ncclGroupEnd", nccl.group_end);
  library.find("ncclSend", nccl.send);
  library.find("ncclRecv", nccl.recv);
  return nccl;
}

}  // namespace

const NcclLibrary& nccl_library() {
  static const NcclLibrary library = load();
  return library;
}

}  // namespace moewe
