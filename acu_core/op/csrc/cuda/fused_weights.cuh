// The weights in the order in which blended products walk over them: a block's share of a chunk lies as it will in shared
// memory, padding included, and is copied there as it is. Once a call instead of once a block: on an H100 the blocks spent
// most of their time on this.
#pragma once

#include "fused_forward.cuh"

namespace acu::cuda {

template <typename T, int OutputFragments>
struct PackedWeights {
  using Memory = BlendMemory<T, OutputFragments>;

  const BlendProblem<T>& problem;

  static ACU_HOST_DEVICE int blocks_each(const BlendProblem<T>& problem) {
    return (problem.bundle_channels() + Memory::kOutputs - 1) / Memory::kOutputs;
  }
  static ACU_HOST_DEVICE int64_t numbers(const BlendProblem<T>& problem) {
    return int64_t{problem.bundles()} * blocks_each(problem) * problem.sources() * problem.source_chunks() *
           Memory::chunk_weights(problem.geometry.synapses);
  }
  static ACU_HOST_DEVICE int64_t blocks(const BlendProblem<T>& problem) {
    const int64_t vectors = numbers(problem) / kVector<T>;
    return (vectors + kThreads - 1) / kThreads;
  }

#ifdef ACU_HAS_TENSOR_CORES

  ACU_DEVICE PackedWeights(const BlendProblem<T>& problem, unsigned char*) : problem(problem) {}

  // A vector for each thread. Neighbouring threads have neighbouring synapses, as they lie in the weight.
  ACU_DEVICE void run() {
    constexpr int kDepth = Memory::kDepth, kVectors = Memory::kWeightLength / kVector<T>;
    const Geometry& geometry = problem.geometry;
    const int chunks = problem.source_chunks();
    int64_t rest = int64_t{blockIdx.x} * kThreads + threadIdx.x;
    if (rest >= numbers(problem) / kVector<T>) return;
    const auto next = [&](int count) {
      const int64_t quotient = rest / count;
      const int remainder = static_cast<int>(rest - quotient * count);
      rest = quotient;
      return remainder;
    };
    const int synapse = next(geometry.synapses), depth = next(kDepth), vector = next(kVectors);
    const int number = next(chunks), source = next(problem.sources()), block = next(blocks_each(problem));
    const int bundle = static_cast<int>(rest), segment = problem.segment(bundle, source);
    const int channel = number * kDepth + depth;
    Vector<T> packed = no_numbers<T>();
    if (channel < problem.source_channels() && (vector + 1) * kVector<T> <= Memory::kOutputs) {
      ACU_UNROLL
      for (int i = 0; i < kVector<T>; ++i) {
        const int across = block * Memory::kOutputs + vector * kVector<T> + i;
        if (across >= problem.bundle_channels()) continue;
        const int64_t output = int64_t{segment} * problem.segment_outputs() + (problem.mirrored ? channel : across);
        const int input = problem.mirrored ? across : channel;
        packed.values[i] = problem.weight[(output * geometry.group_channels + input) * geometry.synapses + synapse];
      }
    }
    const int64_t chunk =
        ((int64_t{bundle} * blocks_each(problem) + block) * problem.sources() + source) * chunks + number;
    T* to = problem.packed + ((chunk * geometry.synapses + synapse) * kDepth + depth) * Memory::kWeightLength;
    store<T, kVector<T>>(to + vector * kVector<T>, rounded_vector(packed));
  }

#endif
};

}  // namespace acu::cuda
