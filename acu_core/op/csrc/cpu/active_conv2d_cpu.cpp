// Where torch ends and the kernels begin: checks on which memory safety depends, allocation, packing, threads.

#include <atomic>
#include <optional>
#include <tuple>
#include <utility>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include "../settings.h"
#include "instruction_set.h"
#include "reduction.h"
#include "split_weight.h"

namespace acu {

namespace {

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// True floor, where C++ truncates: (-1) / 2 is -1 here.
int64_t floor_div(int64_t value, int64_t divisor) {
  return value >= 0 ? value / divisor : -((-value + divisor - 1) / divisor);
}

Geometry check_and_measure(const Tensor& input, const Tensor& weight, const Tensor& positions, const Settings& settings) {
  const auto& [stride, padding, groups] = settings;
  STD_TORCH_CHECK(input.dim() == 4, "active_conv2d: input must be (N, C, H, W), not ", input.dim(), "-dimensional");
  STD_TORCH_CHECK(weight.dim() == 3, "active_conv2d: weight must be (O, C/groups, K), not ", weight.dim(), "-dimensional");
  STD_TORCH_CHECK(positions.dim() == 3 && positions.size(2) == 2, "active_conv2d: positions must be (G, K, 2)");
  const ScalarType type = input.scalar_type();
  STD_TORCH_CHECK(type == ScalarType::Float || type == ScalarType::Double || type == ScalarType::Half ||
                      type == ScalarType::BFloat16,
                  "active_conv2d: the CPU kernel takes float32, float64, float16 and bfloat16");
  STD_TORCH_CHECK(weight.scalar_type() == type, "active_conv2d: weight must have the dtype of input");
  STD_TORCH_CHECK(positions.scalar_type() == (type == ScalarType::Double ? type : ScalarType::Float),
                  "active_conv2d: positions must be float32, or float64 with float64 input");
  // Far beyond any image, and far from the end of the integers.
  constexpr int64_t kLargest = int64_t{1} << 40;
  STD_TORCH_CHECK(stride.h > 0 && stride.w > 0 && std::max(stride.h, stride.w) < kLargest,
                  "active_conv2d: stride must be positive and sensible");
  for (const int64_t side : {padding.top, padding.bottom, padding.left, padding.right}) {
    STD_TORCH_CHECK(side > -kLargest && side < kLargest, "active_conv2d: padding ", side, " is not sensible");
  }
  Geometry g{};
  g.images = input.size(0), g.channels = input.size(1), g.height = input.size(2), g.width = input.size(3);
  g.outputs = weight.size(0), g.synapses = weight.size(2);
  g.position_groups = positions.size(0), g.groups = groups;
  g.stride = stride, g.padding = padding;
  g.out_height = floor_div(g.height + padding.top + padding.bottom - 1, stride.h) + 1;
  g.out_width = floor_div(g.width + padding.left + padding.right - 1, stride.w) + 1;
  STD_TORCH_CHECK(g.channels > 0 && g.height > 0 && g.width > 0, "active_conv2d: input has no pixels");
  STD_TORCH_CHECK(g.outputs > 0 && g.synapses > 0, "active_conv2d: weight is empty");
  STD_TORCH_CHECK(g.out_height > 0 && g.out_width > 0, "active_conv2d: the output would be ", g.out_height, " x ", g.out_width);
  STD_TORCH_CHECK(groups > 0 && g.channels % groups == 0 && g.outputs % groups == 0,
                  "active_conv2d: groups must divide the channels of input and weight");
  STD_TORCH_CHECK(weight.size(1) == g.channels / groups, "active_conv2d: weight must have C/groups channels");
  STD_TORCH_CHECK(g.position_groups > 0 && g.outputs % g.position_groups == 0,
                  "active_conv2d: position groups must divide the output channels");
  STD_TORCH_CHECK(positions.size(1) == g.synapses, "active_conv2d: positions and weight differ in synapses");
  return g;
}

template <class T>
std::vector<Synapse<T>> read_positions(const Tensor& positions) {
  const Tensor plain = torch::stable::contiguous(positions);
  const T* values = plain.const_data_ptr<T>();
  for (int64_t i = 0; i < plain.numel(); ++i) {
    STD_TORCH_CHECK(std::isfinite(values[i]), "active_conv2d: positions must be finite, but element ", i, " is ", values[i]);
  }
  return split_positions(values, plain.numel() / 2);
}

Element element_of(const Tensor& tensor) {
  if (tensor.scalar_type() == ScalarType::BFloat16) return Element::kBFloat16;
  return tensor.scalar_type() == ScalarType::Half ? Element::kFloat16 : Element::kOwn;
}

MemoryFormat format(bool channels_last) { return channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous; }

Tensor new_image(const Tensor& like, int64_t n, int64_t c, int64_t h, int64_t w, bool channels_last) {
  return torch::stable::empty({n, c, h, w}, like.scalar_type(), std::nullopt, like.device(), std::nullopt,
                              format(channels_last));
}

// Slots, not threads, decide how sums are cut: a machine that gives fewer threads works through the same slots. There
// are no more of them than tiles, since each holds sums of its own.
int64_t slot_count(const Plan& plan) {
  return std::clamp<int64_t>(torch::stable::get_num_threads(), 1, std::max<int64_t>(plan.tile_count, 1));
}

// Tensors of 16 bits are half as large, and so is what stands beside them: smaller tiles, of one image where they can be, for a
// few percent of the time.
Sizes sizes_for(Sizes sizes, Element element) {
  if (element == Element::kOwn) return sizes;
  sizes.tile_pixels = std::min<int64_t>(sizes.tile_pixels, 96);
  sizes.interleaved_images = 1;
  return sizes;
}

const auto in_parallel = [](int64_t count, const auto& f) { torch::stable::parallel_for(0, count, 1, f); };

template <class T>
std::optional<Cells<T>> cells_of(const Plan& plan, const Synapse<T>* synapses, const Tensor& weight) {
  std::optional<Cells<T>> cells;
  if (plan.geometry.depthwise()) {
    with_elements<T>(element_of(weight), weight.const_data_ptr(),
                     [&](const auto* values) { cells.emplace(plan, synapses, values); });
  }
  return cells;
}

// Whether all outputs are finite: if not, some may be NaN that should not. For tensors that hold T.
template <class T>
bool forward_by_spreading(const Kernels<T>& kernel, const Geometry& g, const Synapse<T>* synapses, const T* input,
                          const T* weight, const T* bias, T* output, bool channels_last) {
  const int64_t threads = torch::stable::get_num_threads();
  const SpreadPlan plan(g, kernel.sizes, threads);
  Buffer<T> packed(plan.packed_size());
  pack_for_spread(plan, weight, packed.data(), in_parallel);
  SpreadProblem<T> problem{plan, synapses, input, packed.data(), bias, output, channels_last};
  std::optional<Buffer<uint16_t>> split;
  if (kernel.split_weight != nullptr) {
    split = split_for_spread(kernel, plan, packed.data(), in_parallel);
    if (!split) return false;
    packed = Buffer<T>(0);
    problem.split_weight = split->data();
  }
  std::atomic<int64_t> next_portion = 0;
  std::atomic<bool> finite = true;
  in_parallel(threads, [&](int64_t begin, int64_t end) {
    for (int64_t thread = begin; thread < end; ++thread) {
      for (int64_t portion; (portion = next_portion++) < plan.portions();) {
        if (!kernel.spread(problem, portion)) finite = false;
      }
    }
  });
  return finite;
}

// The tensors of a forward call, checked and in the layout that the kernels take.
template <class T>
struct ForwardCall {
  const Geometry& geometry;
  const Synapse<T>* synapses;
  const Tensor &input, &weight;
  const T* bias;  // or null
  Tensor& output;
  Layout layout;

  // Returns whether the output stands (see Kernels).
  bool compute(const Kernels<T>& kernel) const {
    const Plan plan(geometry, sizes_for(kernel.sizes, layout.element), torch::stable::get_num_threads());
    const int64_t slots = slot_count(plan);
    const std::optional<Cells<T>> cells = cells_of(plan, synapses, weight);
    Buffer<T> packed(plan.packed_size);
    with_elements<T>(layout.element, weight.const_data_ptr(),
                     [&](const auto* values) { pack_weight(plan, values, packed.data(), in_parallel); });
    ForwardProblem<T> problem{plan, synapses,     input.const_data_ptr(),    packed.data(),
                              bias, output.mutable_data_ptr(), layout, cells ? &*cells : nullptr};
    std::optional<Buffer<uint16_t>> split;
    if (kernel.split_weight != nullptr) {
      split = split_weight(kernel, plan, packed.data(), false, in_parallel);
      if (!split) return false;
      packed = Buffer<T>(0);
      problem.split_weight = split->data();
    }
    // Outputs are sums within a tile, whoever computes it: each thread takes the next portion when it is done with one, so
    // that a core which is slower, or busy with something else, does not hold up the others.
    const int64_t portions = plan.portions(slots, layout);
    std::atomic<int64_t> next_portion = 0;
    std::atomic<bool> stands = true;
    in_parallel(slots, [&](int64_t begin, int64_t end) {
      for (int64_t slot = begin; slot < end; ++slot) {
        for (int64_t portion; (portion = next_portion++) < portions;) {
          if (!kernel.forward(problem, portion, portions)) stands = false;
        }
      }
    });
    return stands;
  }
};

template <class T>
Tensor forward(const Tensor& input, const Tensor& weight, const Tensor& positions, const std::optional<Tensor>& bias,
               const Geometry& g, bool channels_last) {
  const std::vector<Synapse<T>> synapses = read_positions<T>(positions);
  const Tensor image = torch::stable::contiguous(input, format(channels_last));
  const Tensor plain_weight = torch::stable::contiguous(weight);
  std::vector<T> wide_bias;
  if (bias.has_value()) {
    STD_TORCH_CHECK(bias->dim() == 1 && bias->size(0) == g.outputs && bias->scalar_type() == input.scalar_type(),
                    "active_conv2d: bias must be (O,) with the dtype of input");
    const Tensor plain_bias = torch::stable::contiguous(*bias);
    with_elements<T>(element_of(*bias), plain_bias.const_data_ptr(), [&](const auto* values) {
      for (int64_t o = 0; o < g.outputs; ++o) wide_bias.push_back(widen(values[o]));
    });
  }
  Tensor output = new_image(input, g.images, g.outputs, g.out_height, g.out_width, channels_last);
  if (g.images == 0) return output;

  const Layout layout{channels_last, element_of(input)};
  const T* bias_data = bias.has_value() ? wide_bias.data() : nullptr;
  const Kernels<T>* spread = kernels_for_spread<T>(g, torch::stable::get_num_threads());
  if (layout.element == Element::kOwn && spread != nullptr &&
      forward_by_spreading(*spread, g, synapses.data(), image.const_data_ptr<T>(), plain_weight.const_data_ptr<T>(),
                           bias_data, output.mutable_data_ptr<T>(), channels_last)) {
    return output;
  }
  const ForwardCall<T> call{g, synapses.data(), image, plain_weight, bias_data, output, layout};
  const Kernels<T>& kernel = kernels_for<T>(g, layout.element);
  if (!call.compute(kernel)) call.compute(*kernel.others);
  return output;
}

struct Needs {
  bool input, weight, positions, bias;
};

using Gradients = std::tuple<Tensor, Tensor, Tensor, Tensor>;

Tensor zeros_if(bool needed, const Tensor& like, torch::headeronly::IntHeaderOnlyArrayRef sizes) {
  return needed ? torch::stable::new_zeros(like, sizes) : torch::stable::new_empty(like, {0});
}

// The same of a backward call.
template <class T>
struct BackwardCall {
  const Geometry& geometry;
  const Synapse<T>* synapses;
  const Tensor &gradient, &input, &weight;
  Needs needs;
  Tensor &grad_input, &grad_weight, &grad_positions, &grad_bias;
  Layout layout;

  // Makes grad_weight, and returns whether the gradients stand (see Kernels).
  bool compute(const Kernels<T>& kernel, bool mirrors) const {
    const Plan plan(mirrors ? mirror(geometry) : geometry, sizes_for(kernel.sizes, layout.element),
                    torch::stable::get_num_threads());
    std::vector<SlotSums<T>> sums(slot_count(plan));
    if (!(mirrors ? add_up_mirrored(kernel, plan, sums) : add_up(kernel, plan, sums))) return false;
    // Only now, in the memory that the transposed weight has left.
    grad_weight = zeros_if(needs.weight, weight, weight.sizes());
    if (needs.input && !mirrors) {
      with_elements<T>(layout.element, grad_input.mutable_data_ptr(),
                       [&](auto* to) { reduce_shared_rows(plan, sums, layout.channels_last, to, in_parallel); });
    }
    if (needs.weight) {
      with_elements<T>(layout.element, grad_weight.mutable_data_ptr(),
                       [&](auto* to) { reduce_weight(plan, sums, to, in_parallel); });
    }
    if (needs.positions) reduce_positions(sums, grad_positions.numel(), grad_positions.mutable_data_ptr<T>());
    if (needs.bias) {
      with_elements<T>(layout.element, grad_bias.mutable_data_ptr(),
                       [&](auto* to) { reduce_bias(sums, geometry.outputs, to); });
    }
    return true;
  }

 private:
  bool add_up(const Kernels<T>& kernel, const Plan& plan, std::vector<SlotSums<T>>& sums) const {
    const std::optional<Cells<T>> cells = cells_of(plan, synapses, weight);
    Buffer<T> transposed(plan.transposed_size);
    with_elements<T>(layout.element, weight.const_data_ptr(),
                     [&](const auto* values) { pack_transposed_weight(plan, values, transposed.data(), in_parallel); });
    BackwardProblem<T> problem{plan,
                               synapses,
                               gradient.const_data_ptr(),
                               input.const_data_ptr(),
                               transposed.data(),
                               needs.input ? grad_input.mutable_data_ptr() : nullptr,
                               needs.weight,
                               needs.positions,
                               needs.bias,
                               layout,
                               cells ? &*cells : nullptr};
    std::optional<Buffer<uint16_t>> split;
    if (kernel.split_weight != nullptr) {
      split = split_weight(kernel, plan, transposed.data(), true, in_parallel);
      if (!split) return false;
      transposed = Buffer<T>(0);
      problem.split_weight = split->data();
    }
    return over_slots(sums, [&](int64_t slot, int64_t slots) { return kernel.backward(problem, slot, slots, sums[slot]); });
  }

  // From the output's side (mirror(), geometry.h), with kernels that split floats.
  bool add_up_mirrored(const Kernels<T>& kernel, const Plan& plan, std::vector<SlotSums<T>>& sums) const {
    const std::vector<Synapse<T>> mirrored = mirror(synapses, geometry.position_groups * geometry.synapses);
    const T* values = weight.const_data_ptr<T>();
    const auto split_if = [&](bool needed, bool transposed) -> std::optional<Buffer<uint16_t>> {
      if (!needed) return Buffer<uint16_t>(0);
      Buffer<T> packed(transposed ? plan.transposed_size : plan.packed_size);
      if (transposed) {
        pack_transposed_weight(plan, values, packed.data(), in_parallel);
      } else {
        pack_weight(plan, values, packed.data(), in_parallel);
      }
      return split_weight(kernel, plan, packed.data(), transposed, in_parallel);
    };
    const auto split = split_if(needs.input, false), split_transposed = split_if(needs.positions, true);
    if (!split || !split_transposed) return false;
    const ForwardProblem<T> forward{plan, mirrored.data(), gradient.const_data_ptr(), nullptr, nullptr,
                                    needs.input ? grad_input.mutable_data_ptr() : nullptr, layout, nullptr, split->data()};
    const BackwardProblem<T> backward{plan,  mirrored.data(), input.const_data_ptr(), gradient.const_data_ptr(),
                                      nullptr, nullptr, needs.weight, needs.positions, false, layout, nullptr,
                                      split_transposed->data()};
    const MirroredProblem<T> problem{forward, backward, needs.bias};
    return over_slots(sums, [&](int64_t slot, int64_t slots) {
      return kernel.mirrored_backward(problem, slot, slots, sums[slot]);
    });
  }

  // Whether f(slot, slots) has returned true for every slot.
  template <class F>
  static bool over_slots(const std::vector<SlotSums<T>>& sums, const F& f) {
    std::atomic<bool> stands = true;
    const int64_t slots = static_cast<int64_t>(sums.size());
    in_parallel(slots, [&](int64_t begin, int64_t end) {
      for (int64_t slot = begin; slot < end; ++slot) {
        if (!f(slot, slots)) stands = false;
      }
    });
    return stands;
  }
};

template <class T>
Gradients backward(const Tensor& grad_output, const Tensor& input, const Tensor& weight, const Tensor& positions,
                   const Geometry& g, bool channels_last, Needs needs) {
  const std::vector<Synapse<T>> synapses = read_positions<T>(positions);
  const Tensor gradient = torch::stable::contiguous(grad_output, format(channels_last));
  const Tensor image = torch::stable::contiguous(input, format(channels_last));
  const Tensor plain_weight = torch::stable::contiguous(weight);
  Tensor grad_input = needs.input ? new_image(input, g.images, g.channels, g.height, g.width, channels_last)
                                  : torch::stable::new_empty(input, {0});
  Tensor grad_positions = zeros_if(needs.positions, positions, positions.sizes());
  Tensor grad_bias = zeros_if(needs.bias, weight, {g.outputs});
  if (g.images == 0) return {grad_input, zeros_if(needs.weight, weight, weight.sizes()), grad_positions, grad_bias};

  const Layout layout{channels_last, element_of(input)};
  Tensor grad_weight;
  const BackwardCall<T> call{g,           synapses.data(), gradient,       image, plain_weight, needs,
                             grad_input, grad_weight,     grad_positions, grad_bias, layout};
  const bool mirrors = layout.element == Element::kOwn && kernels<T>().mirrors != nullptr && kernels<T>().mirrors(g);
  const Kernels<T>& kernel = mirrors ? kernels<T>() : kernels_for<T>(g, layout.element);
  if (!call.compute(kernel, mirrors)) call.compute(*kernel.others, false);
  return {grad_input, grad_weight, grad_positions, grad_bias};
}

Tensor active_conv2d(const Tensor& input, const Tensor& weight, const Tensor& positions,
                     const std::optional<Tensor>& bias, const std::vector<int64_t>& stride,
                     const std::vector<int64_t>& padding, int64_t groups, bool channels_last) {
  const Geometry g = check_and_measure(input, weight, positions, settings_of(stride, padding, groups));
  return input.scalar_type() != ScalarType::Double
             ? forward<float>(input, weight, positions, bias, g, channels_last)
             : forward<double>(input, weight, positions, bias, g, channels_last);
}

Gradients active_conv2d_backward(const Tensor& grad_output, const Tensor& input, const Tensor& weight,
                                 const Tensor& positions, const std::vector<int64_t>& stride,
                                 const std::vector<int64_t>& padding, int64_t groups, bool channels_last,
                                 bool need_input, bool need_weight, bool need_positions, bool need_bias) {
  const Geometry g = check_and_measure(input, weight, positions, settings_of(stride, padding, groups));
  STD_TORCH_CHECK(grad_output.dim() == 4 && grad_output.size(0) == g.images && grad_output.size(1) == g.outputs &&
                      grad_output.size(2) == g.out_height && grad_output.size(3) == g.out_width &&
                      grad_output.scalar_type() == input.scalar_type(),
                  "active_conv2d_backward: grad_output must have the shape and dtype of the output");
  const Needs needs{need_input, need_weight, need_positions, need_bias};
  return input.scalar_type() != ScalarType::Double
             ? backward<float>(grad_output, input, weight, positions, g, channels_last, needs)
             : backward<double>(grad_output, input, weight, positions, g, channels_last, needs);
}

int64_t cpu_instruction_set(int64_t choice) {
  if (choice >= 0) {
    const auto set = static_cast<InstructionSet>(choice);
    STD_TORCH_CHECK(is_supported(set), "this processor or this build lacks instruction set ", choice);
    force_instruction_set(set);
  }
  return static_cast<int64_t>(current_instruction_set());
}

}  // namespace

}  // namespace acu

STABLE_TORCH_LIBRARY_IMPL(acu, CPU, m) {
  m.impl("active_conv2d", TORCH_BOX(&acu::active_conv2d));
  m.impl("active_conv2d_backward", TORCH_BOX(&acu::active_conv2d_backward));
}

STABLE_TORCH_LIBRARY_IMPL(acu, CompositeExplicitAutograd, m) {
  m.impl("cpu_instruction_set", TORCH_BOX(&acu::cpu_instruction_set));
}
