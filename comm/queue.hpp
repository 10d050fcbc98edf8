#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <type_traits>

struct CUstream_st;  // CUDA's name for a stream; its headers are included in comm/cuda and in kernels alone

namespace moewe {

using StreamHandle = CUstream_st*;

/// Work that a queue runs on what it is given: one body for a GPU and its twin for the host, which yield the
/// same bits unless the kernel's header says otherwise.
///
/// `Arguments` are sizes and addresses of memory that the queue's device reaches. They are copied when the
/// kernel is enqueued; what they point to is used when it runs.
template <typename Arguments>
struct Kernel {
  static_assert(std::is_trivially_copyable_v<Arguments>);

  const char* name;
  void (*on_host)(const Arguments&);

  /// Starts it on a stream of the current device and returns CUDA's code. Null in a build without CUDA.
  int (*on_gpu)(const Arguments&, StreamHandle);
};

/// A point in the work of a queue, for others to wait for. At first it is one that has been passed.
class Event {
 public:
  virtual ~Event() = default;

  /// Whether the queue that recorded it last has passed it. Throws as Queue::is_idle does.
  virtual bool is_done() const = 0;
};

/// A flag, and what it is set to or waited for to be.
struct FlagValue {
  std::uint64_t* flag;  ///< an address of Device::show_host_memory, 8-byte aligned
  std::uint64_t value;
};

/// Work that a queue has recorded, to be launched as a whole any number of times. It holds the arguments and
/// addresses that it was recorded with; what lies there may be other each time. It ends when
/// no launch of it is under way.
class Graph {
 public:
  virtual ~Graph() = default;

  /// Pieces of work in it: kernels, copies, fills and groups of flags.
  virtual std::size_t num_nodes() const = 0;
};

/// Where a rank's work runs in the order in which it was enqueued, beside the rank: a stream of a GPU, or its
/// emulation by a thread. Nothing blocks, and no function is collective. Used by one thread at a time. What a
/// queue still holds when it ends may or may not run: let it be idle first.
///
/// Work that fails makes is_idle() throw, there and in whatever asks later; what was enqueued behind it may
/// not run.
class Queue {
 public:
  virtual ~Queue() = default;

  template <typename Arguments>
  void run(const Kernel<Arguments>& kernel, const Arguments& arguments) {
    if (const StreamHandle stream = current_stream()) {
      check_launch(kernel.name, kernel.on_gpu == nullptr ? not_built : kernel.on_gpu(arguments, stream));
    } else {
      enqueue([body = kernel.on_host, arguments] { body(arguments); });
    }
  }

  /// Between memory of the device and of the host, in any direction. Host memory that is not pinned must not
  /// be changed before the queue is idle; a copy to such memory of a GPU's blocks, without a deadline, until
  /// it has been made, behind all that the queue holds. Regions do not overlap.
  virtual void copy(void* to, const void* from, std::size_t bytes) = 0;

  /// Device memory; every byte becomes `value`.
  virtual void fill(void* to, unsigned char value, std::size_t bytes) = 0;

  virtual void record(Event& event) = 0;

  /// What is enqueued from now on waits until `event`, as it was recorded last by now, is passed. The event
  /// is of the same device.
  virtual void wait_for(const Event& event) = 0;

  /// Makes everything enqueued before visible to whoever then sees the flags' new values, on any device or
  /// host. They live until the queue is idle. On a GPU one operation of the stream, up to 255 flags.
  virtual void set_flags(std::span<const FlagValue> flags) = 0;
  void set_flag(std::uint64_t* flag, std::uint64_t value) {
    const FlagValue one{flag, value};
    set_flags({&one, 1});
  }

  /// What is enqueued from now on waits until each flag is its value or more. Whoever sets them must not wait
  /// for this queue: nothing ends such a wait but the flags and the end of an emulated queue. Of threads that
  /// share a GPU, none makes or frees memory before it has set the flags that others' queues wait for, since
  /// CUDA may wait for all queues of a process then; so it may where it loads a kernel, unless
  /// CUDA_MODULE_LOADING is EAGER.
  virtual void wait_for_flags(std::span<const FlagValue> flags) = 0;
  void wait_for_flag(const std::uint64_t* flag, std::uint64_t value) {
    const FlagValue one{const_cast<std::uint64_t*>(flag), value};  // only loaded
    wait_for_flags({&one, 1});
  }

  /// What `work` enqueues here is not done but recorded. Another queue takes part from where it waits for an
  /// event that was recorded here meanwhile, as far as this one waits for an event of that one at last: a
  /// fork and a join. Branches may run at the same time; emulated, their work is done in the order in which
  /// it was enqueued.
  ///
  /// Where kernels are loaded when they first run (CUDA_MODULE_LOADING), do the work once before: a capture
  /// may not load them. Meanwhile this thread neither asks queues or events how far they are, nor makes
  /// memory of a device, nor launches or records a graph, and nothing waits for events from outside; that,
  /// and a fork without its join, throws Error(internal), or what CUDA reports. What `work` throws passes
  /// through; then nothing is recorded. Arguments of kernels, flags and addresses are copied; host memory
  /// that is copied from is read by each launch.
  virtual std::unique_ptr<Graph> record_graph(const std::function<void()>& work) = 0;

  /// Enqueues all that was recorded, on a queue of the same device. Launches of one graph run one after the
  /// other.
  virtual void launch(Graph& graph) = 0;

  /// Whether all that was enqueued has been done, which makes its results visible to the caller. For
  /// Waiter::until. Throws Error(communication), naming what failed.
  virtual bool is_idle() = 0;

 protected:
  static constexpr int not_built = -1;

  /// Of a GPU, whose device is the calling thread's current one until check_launch() is called; null where
  /// kernels run on the host.
  virtual StreamHandle current_stream() = 0;

  /// Throws Error(communication) unless the code is that of success.
  virtual void check_launch(const char* kernel, int code) = 0;

  /// Only where kernels run on the host.
  virtual void enqueue(std::function<void()> work) = 0;
};

}  // namespace moewe
