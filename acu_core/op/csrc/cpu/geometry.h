// What a call computes, apart from the numbers in the tensors: sizes, where each synapse looks, and which output
// channels share their input channels and their positions.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "../paddings.h"

namespace acu {

struct Geometry {
  int64_t images, channels, height, width;       // input (N, C, H, W)
  int64_t outputs, out_height, out_width;        // output (N, O, OH, OW)
  int64_t synapses, position_groups, groups;
  Stride stride;
  Paddings padding;
  int64_t shapes = 0;  // of a mirrored convolution, whose synapses are those of so many shapes; else 0. See mirror()

  int64_t out_pixels() const { return out_height * out_width; }
  int64_t channels_per_group() const { return channels / groups; }
  bool mirrored() const { return shapes > 0; }
  // Channels that a synapse reads, of a mirrored convolution, and the first of them.
  int64_t channels_per_shape() const { return channels / shapes; }
  int64_t first_channel(int64_t synapse) const {
    return mirrored() ? synapse / (synapses / shapes) * channels_per_shape() : 0;
  }
  // One group and one output for every channel, with one shape or several: computed in cells (cells.h).
  bool depthwise() const { return channels > 1 && groups == channels && outputs == channels; }
};

// A position split for bilinear interpolation: the corner up and left of it, and how far beyond that corner it is.
// The fraction lies in [0, 1]: just below an integer, 1 - tiny rounds to 1 and the cell is still the one below, which
// is where the derivative belongs.
template <class T>
struct Synapse {
  int64_t row, column;
  T fraction_y, fraction_x;
};

template <class T>
std::vector<Synapse<T>> split_positions(const T* positions, int64_t count) {
  // Beyond any image, so that the conversion to an integer is defined for every finite position.
  const T far_away = static_cast<T>(int64_t{1} << 40);
  std::vector<Synapse<T>> synapses(count);
  for (int64_t t = 0; t < count; ++t) {
    const T y = positions[2 * t], x = positions[2 * t + 1];
    const T floor_y = std::floor(y), floor_x = std::floor(x);
    synapses[t] = {static_cast<int64_t>(std::clamp(floor_y, -far_away, far_away)),
                   static_cast<int64_t>(std::clamp(floor_x, -far_away, far_away)), y - floor_y, x - floor_x};
  }
  return synapses;
}

// The same convolution from the output's side, at stride 1 and without groups: what an output pixel reads of the input, the
// input pixel gives to the output. So its "input" is the gradient of the output and its "output" that of the input, its outputs
// are the channels, and each of them reads at the mirrored positions of all synapses of all shapes: at those of a shape its
// outputs. Backward is computed so where there are several shapes (mirrored_backward.h).
inline Geometry mirror(const Geometry& g) {
  Geometry m = g;
  m.channels = g.outputs, m.height = g.out_height, m.width = g.out_width;
  m.outputs = g.channels, m.out_height = g.height, m.out_width = g.width;
  m.padding = {-g.padding.top, -g.padding.bottom, -g.padding.left, -g.padding.right};
  m.synapses = g.position_groups * g.synapses, m.position_groups = 1, m.shapes = g.position_groups;
  return m;
}

// Positions of mirror(). Their fractions stay, so that no share is rounded twice: the two shares trade places (make_walk).
template <class T>
std::vector<Synapse<T>> mirror(const Synapse<T>* synapses, int64_t count) {
  std::vector<Synapse<T>> mirrored(synapses, synapses + count);
  for (Synapse<T>& synapse : mirrored) synapse.row = -synapse.row - 1, synapse.column = -synapse.column - 1;
  return mirrored;
}

// Output channels [out_begin, out_end) that read input channels [in_begin, in_end) at the positions of one position
// group. Convolution groups and position groups cut the output channels independently; a segment is what is left whole.
// Mirrored there is one, whose input channels are counted from a synapse's first.
// A depthwise convolution has none: it needs no columns.
struct Segment {
  int64_t out_begin, out_end, in_begin, in_end, position_group;
};

inline std::vector<Segment> cut_into_segments(const Geometry& g) {
  if (g.depthwise()) return {};
  if (g.mirrored()) return {{0, g.outputs, 0, g.channels_per_shape(), 0}};
  const int64_t per_group = g.outputs / g.groups, per_position_group = g.outputs / g.position_groups;
  std::vector<Segment> segments;
  for (int64_t out = 0; out < g.outputs;) {
    const int64_t group = out / per_group, position_group = out / per_position_group;
    const int64_t end = std::min((group + 1) * per_group, (position_group + 1) * per_position_group);
    segments.push_back({out, end, group * g.channels_per_group(), (group + 1) * g.channels_per_group(), position_group});
    out = end;
  }
  return segments;
}

}  // namespace acu
