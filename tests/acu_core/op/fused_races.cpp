// The fused kernels with a thread for each CUDA thread, for ThreadSanitizer, and without torch. Compares what they give
// with sums taken one by one. Named a barrier ("fused_product.cuh 120"), runs without it. Built by test_fused_races.py.
#define ACU_HOST_THREADS
#include "device_on_host.h"
//
#include <cstring>
#include <random>
#include <string>

#include "fused_plan.cuh"

using namespace acu::cuda;

namespace {

using T = Half;

struct Call {
  const char* name;
  int images, channels, outputs, height, width, groups, position_groups;
  std::vector<float> places;  // (y, x) of each synapse, moved a little by the position group
  bool inf;
};

Geometry geometry_of(const Call& call) {
  Geometry g{};
  g.height = g.out_height = call.height, g.width = g.out_width = call.width;
  g.stride_h = g.stride_w = 1;
  g.channels = call.channels, g.groups = call.groups, g.group_channels = call.channels / call.groups;
  g.position_groups = call.position_groups, g.synapses = static_cast<int>(call.places.size() / 2);
  g.segments = static_cast<int>(std::lcm(call.groups, call.position_groups));
  return g;
}

struct Numbers {
  std::vector<T> image, weight, bias, gradient;
  std::vector<float> positions;
};

struct Results {
  std::vector<T> output, grad_input, grad_weight, grad_bias;
  std::vector<float> grad_positions;
};

Numbers draw(const Call& call, const Geometry& g) {
  std::mt19937 generator(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  const auto some = [&](int64_t count) {
    std::vector<T> numbers;
    for (int64_t i = 0; i < count; ++i) numbers.push_back(T(uniform(generator)));
    return numbers;
  };
  const int64_t pixels = int64_t{call.images} * call.height * call.width;
  Numbers n{some(pixels * call.channels),
            some(int64_t{call.outputs} * g.group_channels * g.synapses),
            some(call.outputs),
            some(pixels * call.outputs),
            {}};
  for (int group = 0; group < call.position_groups; ++group) {
    for (const float place : call.places) n.positions.push_back(place + 0.25f * static_cast<float>(group));
  }
  if (call.inf) n.image[(call.width - 1) * call.channels] = T(INFINITY);
  return n;
}

void multiply(const Call& call, const Geometry& g, const Numbers& n, Results& r, bool mirrored) {
  ProductProblem<T> p = product_problem<T>(g, call.images, call.outputs, mirrored);
  const auto plan = product_plan(p);
  p.image = mirrored ? n.gradient.data() : n.image.data();
  p.weight = n.weight.data(), p.positions = n.positions.data(), p.bias = mirrored ? nullptr : n.bias.data();
  p.result = mirrored ? r.grad_input.data() : r.output.data();
  p.at_once = plan->at_once, p.capacity = plan->capacity;
  p.blocks_each = ceiling(p.bundle_channels, plan->fragments * kSide);
  std::vector<CellList> lists(plan->blocks * p.sources);
  p.lists = lists.data();
  for_each_fragments([&](auto fragments) {
    constexpr int kFragments = decltype(fragments)::value;
    if (plan->fragments != kFragments) return;
    using Folded = FoldedWeights<T, kFragments>;
    // Begins at a multiple of 16 bytes.
    std::vector<Vector<T>> folded(Folded::numbers(p, plan->blocks) / kVector<T>);
    p.folded = folded.front().values;
    p.fold_blocks = Folded::blocks(p, plan->blocks * p.sources);
    device_on_host::run_blocks<Folded>(p, p.fold_blocks, plan->blocks, p.sources, kThreads, Folded::kBytes);
    device_on_host::run_blocks<CellProduct<T, kFragments>>(p, p.tiling.tiles(), plan->blocks, 1, kThreads,
                                                           plan->bytes);
  });
}

void add_corners(const Call& call, const Geometry& g, const Numbers& n, Results& r) {
  CornerProblem<T> p{};
  p.geometry = g, p.sampling = forward_sampling(g, call.images);
  p.tiling = corner_tiling<T>(p.sampling);
  p.image = n.image.data(), p.grad_output = n.gradient.data(), p.positions = n.positions.data();
  p.out_channels = call.outputs, p.weights = p.positions_too = true;
  // Two stretches, the first of several tiles.
  p.stretch = p.tiling.tiles() - 1, p.stretches = 2;
  std::vector<float> cell_sums(p.stretches * p.stretch_sums()), bias(p.stretches * n.bias.size());
  std::vector<float> positions(int64_t{2} * call.outputs * p.channel_blocks() * g.synapses);
  std::vector<CornerCells> cells(p.output_blocks());
  p.cell_sums = cell_sums.data(), p.cells = cells.data(), p.bias_sums = bias.data();
  device_on_host::run_blocks<CornerProducts<T>>(p, p.stretches, p.output_blocks(), p.channel_blocks(), kThreads,
                                                CornerMemory<T>::kBytes);
  const SumProblem<T> sums{p,
                           n.weight.data(),
                           r.grad_weight.data(),
                           positions.data(),
                           r.grad_positions.data(),
                           r.grad_bias.data()};
  device_on_host::run_blocks<SumOfCells<T>>(sums, kBlockOutputs, p.output_blocks(), p.channel_blocks(), kThreads,
                                            SumOfCells<T>::bytes(p));
  device_on_host::run_blocks<SumOfRest<T>>(sums, sums.bias_blocks() + sums.position_blocks(), 1, 1, kThreads,
                                           SumOfRest<T>::kBytes);
}

// A result's number, and the size of what it is the sum of.
struct Sum {
  double value = 0, size = 0;
  void add(double share, double product) { value += share * product, size += std::abs(product); }
};

struct Expected {
  std::vector<Sum> output, grad_input, grad_weight, grad_positions, grad_bias;
};

Expected one_by_one(const Call& call, const Geometry& g, const Numbers& n) {
  Expected e;
  e.output.resize(n.gradient.size()), e.grad_input.resize(n.image.size()), e.grad_weight.resize(n.weight.size());
  e.grad_positions.resize(n.positions.size()), e.grad_bias.resize(n.bias.size());
  for (int64_t pixel = 0; pixel < int64_t{call.images} * g.output_pixels(); ++pixel) {
    const OutputPixel at(g, pixel);
    for (int o = 0; o < call.outputs; ++o) {
      const int64_t out = pixel * call.outputs + o;
      const double gradient = n.gradient[out];
      e.output[out].add(1, n.bias[o]), e.grad_bias[o].add(1, gradient);
      const int group = o / (call.outputs / call.position_groups);
      for (int k = 0; k < g.synapses; ++k) {
        const int64_t place = 2 * (int64_t{group} * g.synapses + k);
        const double y = std::floor(n.positions[place]), x = std::floor(n.positions[place + 1]);
        const double down = n.positions[place] - y, right = n.positions[place + 1] - x;
        for (int corner = 0; corner < 4; ++corner) {
          const double along_y = corner / 2 ? down : 1 - down, along_x = corner % 2 ? right : 1 - right;
          const int row = at.row + static_cast<int>(y) + corner / 2,
                    column = at.column + static_cast<int>(x) + corner % 2;
          if (row < 0 || row >= call.height || column < 0 || column >= call.width) continue;
          const int64_t from = ((at.image * call.height + row) * call.width + column) * call.channels +
                               o / (call.outputs / call.groups) * g.group_channels;
          for (int c = 0; c < g.group_channels; ++c) {
            const int64_t w = (int64_t{o} * g.group_channels + c) * g.synapses + k;
            const double number = n.image[from + c], weight = n.weight[w], share = along_y * along_x;
            if (share != 0) e.output[out].add(share, number * weight), e.grad_weight[w].add(share, number * gradient);
            e.grad_input[from + c].add(share, gradient * weight);
            const double product = number * weight * gradient;
            if (along_x != 0) e.grad_positions[place].add(corner / 2 ? along_x : -along_x, product);
            if (along_y != 0) e.grad_positions[place + 1].add(corner % 2 ? along_y : -along_y, product);
          }
        }
      }
    }
  }
  return e;
}

template <typename Number>
bool near(const char* call, const char* name, const std::vector<Number>& actual, const std::vector<Sum>& expected) {
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const double number = static_cast<double>(actual[i]), should = expected[i].value;
    if (!std::isfinite(should) && !std::isfinite(number)) continue;
    if (!(std::abs(number - should) <= 2e-3 * expected[i].size)) {
      std::printf("%s: %s[%zu] is %g and should be %g\n", call, name, i, number, should);
      return false;
    }
  }
  return true;
}

}  // namespace

// Arguments: nothing, or a file and a line.
int main(int count, char** arguments) {
  if (count == 3)
    device_on_host::file_without = arguments[1], device_on_host::barrier_without = std::stoi(arguments[2]);
  const std::string only = device_on_host::file_without;
  const std::vector<float> near_grid = {-1, -1, -0.5, 0.25, 0, 0, 0.75, 1};
  const std::vector<float> many_cells = {-1.5, -1.5, -1.5, 0.5, 0.5, -1.5, 0.5, 0.5, 2.5, 2.5};
  const std::vector<float> far_apart = {-15, -15, 0, 0.5, 14.5, 15, 0, 40};
  const Call calls[] = {
      {"two chunks of channels, two sources", 3, 24, 16, 5, 3, 1, 2, near_grid, false},
      {"more cells than at once", 1, 8, 8, 9, 9, 1, 1, many_cells, false},
      {"windows of their own", 1, 8, 8, 16, 16, 1, 1, far_apart, false},
      {"an inf at the border", 1, 8, 8, 5, 17, 1, 1, near_grid, true},
  };
  bool right = true;
  for (const Call& call : calls) {
    const Geometry g = geometry_of(call);
    const Numbers n = draw(call, g);
    Results r{std::vector<T>(n.gradient.size()), std::vector<T>(n.image.size()), std::vector<T>(n.weight.size()),
              std::vector<T>(n.bias.size()), std::vector<float>(n.positions.size())};
    multiply(call, g, n, r, false);
    multiply(call, g, n, r, true);
    add_corners(call, g, n, r);
    if (!only.empty()) continue;
    const Expected e = one_by_one(call, g, n);
    right = near(call.name, "output", r.output, e.output) && right;
    right = near(call.name, "grad_input", r.grad_input, e.grad_input) && right;
    right = near(call.name, "grad_weight", r.grad_weight, e.grad_weight) && right;
    right = near(call.name, "grad_positions", r.grad_positions, e.grad_positions) && right;
    right = near(call.name, "grad_bias", r.grad_bias, e.grad_bias) && right;
  }
  return right ? 0 : 1;
}
