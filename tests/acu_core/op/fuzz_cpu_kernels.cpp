// Random problems through the CPU kernels without torch, for the sanitizers and for processors that are emulated (see
// CONTRIBUTING.md). Every output starts as NaN, so an element that is not written is found; every tensor has its exact
// size, so a byte beyond it is found too; and a gather in double precision says what each element should be.

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <optional>
#include <random>

#include "gather_oracle.h"
#include "instruction_set.h"
#include "reduction.h"
#include "split_weight.h"

namespace {

using namespace acu;

std::mt19937_64 generator(1);
int64_t compared = 0, mirrored_problems = 0;

int64_t between(int64_t low, int64_t high) { return low + static_cast<int64_t>(generator() % (high - low + 1)); }

// The oracle is slow: larger problems are only asked whether every element was written.
constexpr int64_t kMostProducts = 1'000'000;

bool one_in(int64_t n) { return between(1, n) == 1; }

template <class E>
constexpr Element kElement =
    std::is_same_v<E, BFloat16> ? Element::kBFloat16 : std::is_same_v<E, Float16> ? Element::kFloat16 : Element::kOwn;

// Half of the distance between two numbers of 16 bits, of a number and of the smallest ones.
template <class E>
constexpr Rounding kLastRounding = std::is_same_v<E, BFloat16>  ? Rounding{0x1p-8, 0}
                               : std::is_same_v<E, Float16> ? Rounding{0x1p-11, 0x1p-25}
                                                            : Rounding{0, 0};

template <class E>
std::vector<E> random_values(int64_t size) {
  std::vector<E> values(size);
  for (E& value : values) value = round_to<E>(static_cast<Widened<E>>(between(-1000, 1000)) / 1000);
  return values;
}

template <class E>
std::vector<E> unwritten(int64_t size) {
  return std::vector<E>(size, round_to<E>(std::numeric_limits<Widened<E>>::quiet_NaN()));
}

template <class E>
std::vector<Widened<E>> widened(const std::vector<E>& values) {
  std::vector<Widened<E>> wide;
  for (const E value : values) wide.push_back(widen(value));
  return wide;
}

template <class E>
bool all_written(const std::vector<E>& values, const char* name) {
  for (const E value : values) {
    if (std::isnan(widen(value))) {
      std::printf("%s has an element that was not written\n", name);
      return false;
    }
  }
  return true;
}

// Sizes around the borders of tiles, blocks, panels and vectors; depthwise, grouped and wide problems among them.
bool draw_geometry(Geometry& g) {
  const bool depthwise = one_in(5), deep = one_in(6), wide = one_in(6);
  bool alone = false;  // no groups and no stride, so that forward may spread
  g.images = one_in(3) ? between(8, 20) : between(1, 7);
  g.groups = depthwise ? between(2, 600) : one_in(3) ? between(2, 4) : 1;
  g.channels = depthwise ? g.groups : g.groups * (deep ? between(1, 900) : between(1, 20));
  g.outputs = depthwise ? g.groups : g.groups * between(1, 20);
  if (!depthwise && one_in(3)) {
    // As many as fill tile registers.
    g.groups = between(1, 2);
    g.channels = g.groups * (one_in(4) ? between(97, 150) : between(32, 60));
    g.outputs = g.groups * (one_in(4) ? between(97, 150) : between(32, 70));
    alone = one_in(2);
  }
  g.position_groups = 1;
  for (int64_t groups = alone ? between(1, 20) : between(1, 6); groups > 1 && g.position_groups == 1; --groups) {
    if (g.outputs % groups == 0) g.position_groups = groups;
  }
  if (depthwise && one_in(3)) g.position_groups = g.channels;
  g.height = one_in(4) ? 1 : between(1, deep ? 5 : 12);
  g.width = wide ? between(180, 500) : one_in(4) ? 1 : between(1, 14);
  g.synapses = between(1, 9);
  g.stride = {between(1, 4), between(1, 4)};
  if (alone) g.groups = 1, g.stride = {1, 1};
  if (!depthwise && one_in(4)) {
    // One or three channels at stride 1 take a path of their own.
    g.groups = 1, g.channels = one_in(2) ? 1 : 3, g.stride.w = 1;
  }
  g.padding = {between(-4, 4), between(-4, 4), between(-4, 4), between(-4, 4)};
  const int64_t rows = g.height + g.padding.top + g.padding.bottom - 1;
  const int64_t columns = g.width + g.padding.left + g.padding.right - 1;
  if (rows < 0 || columns < 0) return false;
  g.out_height = rows / g.stride.h + 1, g.out_width = columns / g.stride.w + 1;
  return true;
}

template <class T>
std::vector<T> draw_positions(const Geometry& g) {
  std::vector<T> positions(2 * g.position_groups * g.synapses);
  const int64_t kind = between(0, 4);
  for (T& position : positions) {
    double value = static_cast<double>(between(-4000, 4000)) / 1000;
    if (kind == 1) value = std::round(value);
    if (kind == 2) value *= std::pow(10.0, static_cast<double>(between(0, 30)));
    if (kind == 3) value = std::round(value) - 1e-8;
    if (kind == 4) value *= 20;
    position = static_cast<T>(value);
  }
  return positions;
}

const auto in_turn = [](int64_t count, const auto& f) { f(int64_t{0}, count); };

struct Needs {
  bool image = !one_in(4), weight = !one_in(4), positions = !one_in(4), bias = one_in(2);
};

template <class E>
struct Gradients {
  std::vector<E> image, weight, bias;
  std::vector<Widened<E>> positions;

  Gradients(const Geometry& g, int64_t weight_size)
      : image(unwritten<E>(g.images * g.channels * g.height * g.width)), weight(unwritten<E>(weight_size)),
        bias(unwritten<E>(g.outputs)), positions(unwritten<Widened<E>>(2 * g.position_groups * g.synapses)) {}

  bool are_written(const Needs& needs) const {
    return (!needs.image || all_written(image, "grad_input")) && (!needs.weight || all_written(weight, "grad_weight")) &&
           (!needs.positions || all_written(positions, "grad_positions")) && (!needs.bias || all_written(bias, "grad_bias"));
  }

  bool are_near(const Needs& needs, const Expected& expected) const {
    return (!needs.image || near(widened(image), expected.grad_input, "grad_input", kLastRounding<E>)) &&
           (!needs.weight || near(widened(weight), expected.grad_weight, "grad_weight", kLastRounding<E>)) &&
           (!needs.positions || near(positions, expected.grad_positions, "grad_positions")) &&
           (!needs.bias || near(widened(bias), expected.grad_bias, "grad_bias", kLastRounding<E>));
  }
};

// Backward from the output's side. Returns whether the gradients stand.
bool run_mirrored(const Kernels<float>& kernel, const Geometry& g, const Synapse<float>* synapses, const float* gradient,
                  const float* image, const float* weight, bool channels_last, const Needs& needs, Gradients<float>& to) {
  const Plan plan(mirror(g), kernel.sizes, between(1, 9));
  const int64_t slots = between(1, plan.tile_count + 2);
  const auto mirrored = mirror(synapses, g.position_groups * g.synapses);
  Buffer<float> packed(plan.packed_size), transposed(plan.transposed_size);
  pack_weight(plan, weight, packed.data(), in_turn);
  pack_transposed_weight(plan, weight, transposed.data(), in_turn);
  const auto split = split_weight(kernel, plan, packed.data(), false, in_turn);
  const auto split_transposed = split_weight(kernel, plan, transposed.data(), true, in_turn);
  const Layout layout{channels_last, Element::kOwn};
  const ForwardProblem<float> forward{plan, mirrored.data(), gradient, nullptr, nullptr, needs.image ? to.image.data() : nullptr,
                                      layout, nullptr, split.value().data()};
  const BackwardProblem<float> backward{plan, mirrored.data(), image, gradient, nullptr, nullptr, needs.weight,
                                        needs.positions, false, layout, nullptr, split_transposed.value().data()};
  const MirroredProblem<float> problem{forward, backward, needs.bias};
  std::vector<SlotSums<float>> sums(slots);
  bool stands = true;
  for (int64_t slot = slots - 1; slot >= 0; --slot) {
    stands = kernel.mirrored_backward(problem, slot, slots, sums[slot]) && stands;
  }
  if (needs.weight) reduce_weight(plan, sums, to.weight.data(), in_turn);
  if (needs.positions) reduce_positions(sums, static_cast<int64_t>(to.positions.size()), to.positions.data());
  if (needs.bias) reduce_bias(sums, g.outputs, to.bias.data());
  return stands;
}

// E: what images, weight and bias hold.
template <class E>
bool run_one() {
  using T = Widened<E>;
  Geometry g{};
  if (!draw_geometry(g)) return true;
  const std::vector<T> positions = draw_positions<T>(g);
  const auto synapses = split_positions(positions.data(), static_cast<int64_t>(positions.size()) / 2);
  const Kernels<T>& kernel = kernels_for<T>(g, kElement<E>);
  const Plan plan(g, kernel.sizes, between(1, 9));
  const int64_t slots = between(1, plan.tile_count + 2);
  const bool channels_last = one_in(2);
  const int64_t image_size = g.images * g.channels * g.height * g.width, output_size = g.images * g.outputs * g.out_pixels();
  const Layout layout{channels_last, kElement<E>};
  const auto image = random_values<E>(image_size), gradient = random_values<E>(output_size);
  const auto weight = random_values<E>(g.outputs * g.channels_per_group() * g.synapses);
  const auto bias = widened(random_values<E>(g.outputs));

  auto output = unwritten<E>(output_size);
  Buffer<T> packed(plan.packed_size), transposed(plan.transposed_size);
  std::optional<Cells<T>> cells;
  if (g.depthwise()) cells.emplace(plan, synapses.data(), weight.data());
  pack_weight(plan, weight.data(), packed.data(), in_turn);
  const bool has_bias = one_in(2);
  ForwardProblem<T> forward{plan, synapses.data(), image.data(), packed.data(), has_bias ? bias.data() : nullptr,
                                  output.data(), layout, cells ? &*cells : nullptr};
  std::optional<Buffer<uint16_t>> split;
  if (kernel.split_weight != nullptr) {
    split = split_weight(kernel, plan, packed.data(), false, in_turn);
    forward.split_weight = split.value().data();
  }
  bool stands = true;
  for (int64_t slot = 0; slot < slots; ++slot) stands = kernel.forward(forward, slot, slots) && stands;
  auto spread_output = output;
  if constexpr (!kHas16Bits<E>) {
    if (const Kernels<T>* fastest = kernels_for_spread<T>(g, between(1, 4))) {
      const Kernels<T>& spread_kernel = *fastest;
      const SpreadPlan spread_plan(g, spread_kernel.sizes, between(1, 9));
      Buffer<T> spread_packed(spread_plan.packed_size());
      pack_for_spread(spread_plan, weight.data(), spread_packed.data(), in_turn);
      spread_output = unwritten<E>(output_size);
      SpreadProblem<T> spread{spread_plan, synapses.data(), image.data(), spread_packed.data(),
                                    has_bias ? bias.data() : nullptr, spread_output.data(), channels_last};
      if (spread_kernel.split_weight != nullptr) {
        split = split_for_spread(spread_kernel, spread_plan, spread_packed.data(), in_turn);
        spread.split_weight = split.value().data();
      }
      for (int64_t portion = 0; portion < spread_plan.portions(); ++portion) {
        stands = spread_kernel.spread(spread, portion) && stands;
      }
    }
  }

  const Needs needs;
  Gradients<E> gradients(g, static_cast<int64_t>(weight.size()));
  pack_transposed_weight(plan, weight.data(), transposed.data(), in_turn);
  BackwardProblem<T> backward{plan, synapses.data(), gradient.data(), image.data(), transposed.data(),
                                    needs.image ? gradients.image.data() : nullptr, needs.weight, needs.positions,
                                    needs.bias, layout, cells ? &*cells : nullptr};
  if (kernel.split_weight != nullptr) {
    split = split_weight(kernel, plan, transposed.data(), true, in_turn);
    backward.split_weight = split.value().data();
  }
  std::vector<SlotSums<T>> sums(slots);
  for (int64_t slot = slots - 1; slot >= 0; --slot) stands = kernel.backward(backward, slot, slots, sums[slot]) && stands;
  if (needs.image) reduce_shared_rows(plan, sums, channels_last, gradients.image.data(), in_turn);
  if (needs.weight) reduce_weight(plan, sums, gradients.weight.data(), in_turn);
  if (needs.positions) reduce_positions(sums, static_cast<int64_t>(positions.size()), gradients.positions.data());
  if (needs.bias) reduce_bias(sums, g.outputs, gradients.bias.data());
  Gradients<E> mirrored = gradients;
  if constexpr (std::is_same_v<E, float>) {
    if (SpreadPlan::is_possible(g) && kernels<float>().mirrored_backward != nullptr) {
      ++mirrored_problems;
      mirrored = Gradients<float>(g, static_cast<int64_t>(weight.size()));
      stands = run_mirrored(kernels<float>(), g, synapses.data(), gradient.data(), image.data(), weight.data(),
                            channels_last, needs, mirrored) &&
               stands;
    }
  }
  if (!stands) {
    std::printf("finite numbers do not stand\n");
    return false;
  }
  if (products(g) > kMostProducts) {
    return all_written(output, "output") && all_written(spread_output, "output by spreading") &&
           gradients.are_written(needs) && mirrored.are_written(needs);
  }
  ++compared;
  const Expected expected = gather(g, widened(image), widened(weight), positions, has_bias ? &bias : nullptr,
                                   widened(gradient), channels_last);
  return near(widened(output), expected.output, "output", kLastRounding<E>) &&
         near(widened(spread_output), expected.output, "output by spreading", kLastRounding<E>) &&
         gradients.are_near(needs, expected) && mirrored.are_near(needs, expected);
}

}  // namespace

int main(int count, char** arguments) {
  const int64_t problems = count > 1 ? std::atoll(arguments[1]) : 1000;
  if (count > 2) generator.seed(std::atoll(arguments[2]));
  for (int64_t i = 0; i < problems; ++i) {
    auto set = static_cast<InstructionSet>(std::min<int64_t>(between(0, 4), 3));
    if (!is_supported(set)) set = InstructionSet::kBaseline;
    force_instruction_set(set);
    const int64_t kind = between(0, 5);
    const bool right = kind < 2    ? run_one<float>()
                       : kind < 4  ? run_one<double>()
                       : kind == 4 ? run_one<BFloat16>()
                                   : run_one<Float16>();
    if (!right) {
      std::printf("problem %lld failed, with instruction set %d\n", static_cast<long long>(i), static_cast<int>(set));
      return 1;
    }
  }
  std::printf("%lld problems, %lld of them compared, %lld computed from the output's side too\n",
              static_cast<long long>(problems), static_cast<long long>(compared), static_cast<long long>(mirrored_problems));
  return 0;
}
