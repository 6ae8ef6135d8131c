// A stand-in for a GPU, for the fused CUDA kernels: blocks one after the other, the threads of a block with barriers,
// WMMA fragments that lane 0 holds. What it does not stand in for: the layout of fragments in registers, speed.
//
// With ACU_HOST_THREADS a CUDA thread is a std::thread and a barrier a std::barrier, so that ThreadSanitizer sees what
// a GPU's threads would do to each other. Without, a CUDA thread is a fiber that runs until it comes to a barrier: much
// faster, and the order of threads can be chosen.
//
// Shared memory is a fresh block of exactly the size that was asked for, full of NaN: what was not written is not 0.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#ifdef ACU_HOST_THREADS
#include <atomic>
#include <barrier>
#include <thread>
#else
#include <ucontext.h>
#endif

namespace device_on_host {

struct Index {
  unsigned x, y, z;
};

inline thread_local Index thread_index, block_index;

// What no barrier waits for: a barrier is named by its line, so that a test can take one away.
inline int barrier_without = 0;
inline const char* file_without = "";

inline bool is_removed(const char* file, int line) {
  if (line != barrier_without) return false;
  const char* name = std::strrchr(file, '/');
  return std::strcmp(name == nullptr ? file : name + 1, file_without) == 0;
}

// Since a test last asked.
inline int launches = 0;

// Bytes around shared memory that nobody may write.
constexpr int64_t kGuard = 4096;
constexpr unsigned char kUnwritten = 0xFF;

class SharedMemory {
 public:
  explicit SharedMemory(int64_t bytes)
      : bytes_(bytes), memory_(std::aligned_alloc(128, (bytes + 2 * kGuard + 127) / 128 * 128)) {
    std::memset(memory_, kUnwritten, bytes + 2 * kGuard);
  }
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  ~SharedMemory() {
    const unsigned char* bytes = static_cast<unsigned char*>(memory_);
    for (int64_t i = 0; i < kGuard; ++i) {
      if (bytes[i] != kUnwritten || bytes[kGuard + bytes_ + i] != kUnwritten) {
        std::fprintf(stderr, "a kernel wrote beside its %lld bytes of shared memory\n", static_cast<long long>(bytes_));
        std::abort();
      }
    }
    std::free(memory_);
  }
  unsigned char* data() const { return static_cast<unsigned char*>(memory_) + kGuard; }

 private:
  int64_t bytes_;
  void* memory_;
};

inline void fail(const char* what) {
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

// Copies that a thread has begun and not yet waited for.
struct Copy {
  void* to;
  const void* from;
  std::size_t bytes;
};
constexpr int kMostThreads = 1024;
inline std::vector<Copy> copies[kMostThreads];

inline void begin_copy(void* to, const void* from, std::size_t bytes) {
  if (reinterpret_cast<uintptr_t>(to) % bytes != 0 || reinterpret_cast<uintptr_t>(from) % bytes != 0) {
    std::fprintf(stderr, "a copy of %zu bytes between addresses that are no multiples of it\n", bytes);
    std::abort();
  }
  copies[thread_index.x].push_back({to, from, bytes});
}

inline void finish_copies() {
  for (const Copy& copy : copies[thread_index.x]) std::memcpy(copy.to, copy.from, copy.bytes);
  copies[thread_index.x].clear();
}

// When a thread has run to its end.
inline void check_copies() {
  if (!copies[thread_index.x].empty()) fail("a copy that is never awaited");
}

constexpr int kLanes = 32;

#ifdef ACU_HOST_THREADS

struct Barriers {
  explicit Barriers(int threads) : block(threads) {
    for (int warp = 0; warp < threads / kLanes; ++warp) warps.push_back(std::make_unique<std::barrier<>>(kLanes));
  }
  std::barrier<> block;
  std::vector<std::unique_ptr<std::barrier<>>> warps;
  std::atomic<int> votes[3] = {0, 0, 0};
};

inline Barriers* barriers = nullptr;
inline thread_local int vote_number = 0;

inline void wait_for_block() { barriers->block.arrive_and_wait(); }
inline void wait_for_warp() { barriers->warps[thread_index.x / kLanes]->arrive_and_wait(); }

// Three counters in turn. That of the last vote is cleared: all have read it, and the next but one needs it again.
inline bool any_of_block(bool vote, bool removed) {
  std::atomic<int>& votes = barriers->votes[vote_number];
  votes.fetch_or(vote, std::memory_order_relaxed);
  if (!removed) wait_for_block();
  const bool any = votes.load(std::memory_order_relaxed) != 0;
  barriers->votes[(vote_number + 2) % 3].store(0, std::memory_order_relaxed);
  vote_number = (vote_number + 1) % 3;
  return any;
}

template <typename Kernel, typename Problem>
void run_blocks(const Problem& problem, int64_t x, int64_t y, int64_t z, int threads, int64_t shared_bytes) {
  ++launches;
  Barriers all(threads);
  std::barrier<> between(threads);
  barriers = &all;
  std::unique_ptr<SharedMemory> shared;
  const auto work = [&](unsigned number) {
    thread_index = {number, 0, 0};
    vote_number = 0;
    for (int64_t block = 0; block < x * y * z; ++block) {
      block_index = {static_cast<unsigned>(block % x), static_cast<unsigned>(block / x % y),
                     static_cast<unsigned>(block / x / y)};
      if (number == 0) shared = std::make_unique<SharedMemory>(shared_bytes);
      between.arrive_and_wait();
      Kernel(problem, shared->data()).run();
      check_copies();
      between.arrive_and_wait();
    }
  };
  std::vector<std::thread> all_threads;
  for (int number = 0; number < threads; ++number) all_threads.emplace_back(work, number);
  for (std::thread& thread : all_threads) thread.join();
}

#else

// Where a fiber waits. A vote is a block's barrier.
enum class Wait { kNothing, kWarp, kBlock, kEnd };

struct Fiber {
  ucontext_t context;
  std::unique_ptr<unsigned char[]> stack;
  Wait wait;
};

inline ucontext_t scheduler;
inline Fiber* running = nullptr;
inline bool votes_now = false, votes_before = false;
// Of the threads within a block: 0 upwards, 1 downwards.
inline int order = 0;

inline void wait_for(Wait wait) {
  running->wait = wait;
  swapcontext(&running->context, &scheduler);
}
inline void wait_for_block() { wait_for(Wait::kBlock); }
inline void wait_for_warp() { wait_for(Wait::kWarp); }

inline bool any_of_block(bool vote, bool removed) {
  votes_now = votes_now || vote;
  if (!removed) wait_for_block();
  return votes_before;
}

template <typename Body>
void run_block(const Body& body, int threads) {
  constexpr std::size_t kStack = 256 << 10;
  static thread_local std::vector<Fiber> fibers;
  if (static_cast<int>(fibers.size()) < threads) fibers.resize(threads);
  static const Body* current;
  current = &body;
  for (int i = 0; i < threads; ++i) {
    Fiber& fiber = fibers[i];
    if (!fiber.stack) fiber.stack.reset(new unsigned char[kStack]);
    fiber.wait = Wait::kNothing;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStack;
    fiber.context.uc_link = &scheduler;
    makecontext(&fiber.context, static_cast<void (*)()>([] {
      (*current)();
      check_copies();
      running->wait = Wait::kEnd;
    }),
                0);
  }
  const int warps = threads / kLanes;
  for (bool ended = false; !ended;) {
    ended = true;
    int at_barrier = 0;
    for (int w = 0; w < warps; ++w) {
      const int warp = order == 0 ? w : warps - 1 - w;
      // A warp runs until all of it waits for the block, or has ended.
      for (bool waits_for_warp = true; waits_for_warp;) {
        int waiting = 0;
        for (int l = 0; l < kLanes; ++l) {
          const int lane = order == 0 ? l : kLanes - 1 - l;
          Fiber& fiber = fibers[warp * kLanes + lane];
          if (fiber.wait != Wait::kEnd) {
            thread_index = {static_cast<unsigned>(warp * kLanes + lane), 0, 0};
            running = &fiber;
            swapcontext(&scheduler, &fiber.context);
          }
          waiting += fiber.wait == Wait::kWarp;
        }
        if (waiting != 0 && waiting != kLanes) fail("the lanes of a warp wait for different things");
        waits_for_warp = waiting != 0;
      }
      for (int lane = 0; lane < kLanes; ++lane) at_barrier += fibers[warp * kLanes + lane].wait == Wait::kBlock;
    }
    if (at_barrier != 0 && at_barrier != threads) fail("a barrier that not all threads of the block come to");
    if (at_barrier != 0) ended = false;
    votes_before = votes_now;
    votes_now = false;
  }
}

template <typename Kernel, typename Problem>
void run_blocks(const Problem& problem, int64_t x, int64_t y, int64_t z, int threads, int64_t shared_bytes) {
  ++launches;
  for (int64_t block = 0; block < x * y * z; ++block) {
    block_index = {static_cast<unsigned>(block % x), static_cast<unsigned>(block / x % y),
                   static_cast<unsigned>(block / x / y)};
    const SharedMemory shared(shared_bytes);
    run_block([&] { Kernel(problem, shared.data()).run(); }, threads);
  }
}

#endif

}  // namespace device_on_host

#define threadIdx device_on_host::thread_index
#define blockIdx device_on_host::block_index
#define __syncthreads()                                                                    \
  do {                                                                                     \
    if (!device_on_host::is_removed(__FILE__, __LINE__)) device_on_host::wait_for_block(); \
  } while (false)
#define __syncwarp()                                                                      \
  do {                                                                                    \
    if (!device_on_host::is_removed(__FILE__, __LINE__)) device_on_host::wait_for_warp(); \
  } while (false)
#define __syncthreads_or(vote) device_on_host::any_of_block(vote, device_on_host::is_removed(__FILE__, __LINE__))

// As late as they may come: what is read before the copies are awaited is NaN.
#define __pipeline_memcpy_async(to, from, bytes) device_on_host::begin_copy(to, from, bytes)
#define __pipeline_commit() static_cast<void>(0)
#define __pipeline_wait_prior(count) device_on_host::finish_copies()

using __half = torch::headeronly::Half;
using __nv_bfloat16 = torch::headeronly::BFloat16;

namespace nvcuda::wmma {

struct row_major;
struct col_major;
struct matrix_a;
struct matrix_b;
struct accumulator;
namespace precision {
struct tf32;
}
enum layout_t { mem_row_major, mem_col_major };

inline float __float_to_tf32(float number) {
  uint32_t bits;
  std::memcpy(&bits, &number, sizeof bits);
  // To the nearest, halves away from zero; inf and NaN as they are.
  if ((bits & 0x7F800000u) != 0x7F800000u) bits = (bits + 0x1000u) & ~0x1FFFu;
  std::memcpy(&number, &bits, sizeof bits);
  return number;
}

template <typename Element>
struct Stored {
  using Type = Element;
};
template <>
struct Stored<precision::tf32> {
  using Type = float;
};

// All of the matrix, row by row, held by lane 0.
template <typename Use, int m, int n, int k, typename Element, typename Layout = void>
struct fragment {
  static constexpr bool kLeft = std::is_same_v<Use, matrix_a>, kRight = std::is_same_v<Use, matrix_b>;
  static constexpr int kRows = kRight ? k : m, kColumns = kLeft ? k : n;
  static constexpr int num_elements = kRows * kColumns;
  typename Stored<Element>::Type x[num_elements];
};

inline bool holds_fragments() { return threadIdx.x % device_on_host::kLanes == 0; }

inline void check_address(const void* address, std::size_t row_bytes) {
  if (reinterpret_cast<uintptr_t>(address) % 32 != 0 || row_bytes % 16 != 0) {
    std::fprintf(stderr, "a fragment must begin at a multiple of 32 bytes, its rows at multiples of 16\n");
    std::abort();
  }
}

template <typename Fragment>
void fill_fragment(Fragment& fragment, float number) {
  if (!holds_fragments()) return;
  for (auto& element : fragment.x) element = number;
}

template <typename Use, int m, int n, int k, typename Element, typename Layout>
void load_matrix_sync(fragment<Use, m, n, k, Element, Layout>& f, const typename Stored<Element>::Type* address,
                      unsigned length) {
  using Fragment = fragment<Use, m, n, k, Element, Layout>;
  check_address(address, length * sizeof(*address));
  if (!holds_fragments()) return;
  for (int row = 0; row < Fragment::kRows; ++row) {
    for (int column = 0; column < Fragment::kColumns; ++column) {
      f.x[row * Fragment::kColumns + column] =
          std::is_same_v<Layout, row_major> ? address[row * length + column] : address[column * length + row];
    }
  }
}

template <typename Use, int m, int n, int k>
void store_matrix_sync(float* address, const fragment<Use, m, n, k, float>& f, unsigned length, layout_t) {
  check_address(address, length * sizeof(float));
  if (!holds_fragments()) return;
  for (int row = 0; row < m; ++row) {
    for (int column = 0; column < n; ++column) address[row * length + column] = f.x[row * n + column];
  }
}

// What tensor cores take of a number, which of float32 is not all of it.
template <typename Element>
float taken(typename Stored<Element>::Type number) {
  if constexpr (std::is_same_v<Element, precision::tf32>) {
    uint32_t bits;
    std::memcpy(&bits, &number, sizeof bits);
    bits &= ~0x1FFFu;
    std::memcpy(&number, &bits, sizeof bits);
  }
  return static_cast<float>(number);
}

template <int m, int n, int k, typename Element, typename LeftLayout, typename RightLayout>
void mma_sync(fragment<accumulator, m, n, k, float>& d, const fragment<matrix_a, m, n, k, Element, LeftLayout>& a,
              const fragment<matrix_b, m, n, k, Element, RightLayout>& b,
              const fragment<accumulator, m, n, k, float>& c) {
  if (!holds_fragments()) return;
  float right[k * n];
  for (int i = 0; i < k * n; ++i) right[i] = taken<Element>(b.x[i]);
  for (int row = 0; row < m; ++row) {
    float sums[n];
    for (int column = 0; column < n; ++column) sums[column] = c.x[row * n + column];
    for (int inner = 0; inner < k; ++inner) {
      const float left = taken<Element>(a.x[row * k + inner]);
      for (int column = 0; column < n; ++column) sums[column] += left * right[inner * n + column];
    }
    for (int column = 0; column < n; ++column) d.x[row * n + column] = sums[column];
  }
}

}  // namespace nvcuda::wmma
