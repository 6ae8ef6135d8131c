// Forward where groups of outputs have shapes of their own, at stride 1. Columns would be built once for each shape, from all
// channels, and each multiplied with the few outputs of its group alone. Here each pixel of the input is multiplied first,
// with the weights of all synapses of all outputs: one matrix product without columns, as large as that of one shape. Then
// each product is spread on the four output pixels that see it through its synapse. Kernels that split floats (split.h) do so
// with one shape too, for they have fewer pixels than columns to split.
//
//   strand   neighbouring outputs of one synapse of one group: columns of the product that are spread together
//
// It cannot tell a corner without a share from one whose share rounds to nothing, so inf would reach neighbours as NaN: when
// an output is not finite, the caller computes the call by columns.

#pragma once

#include "problem.h"

namespace acu {

struct Strand {
  int64_t output, lanes;
  int64_t synapse;  // among those of all groups
  int64_t column;   // of the product
};

struct SpreadPlan {
  Geometry geometry;
  int64_t panel, tile_pixels;
  int64_t panels = 0;             // of the product's columns
  std::vector<Strand> strands;    // by column; none lies across two panels
  std::vector<int64_t> first_of;  // the first strand of each panel, and the end
  int64_t pieces;                 // that an image's rows are cut into, for threads that would have no image

  // Whether it can be done, with no more products than there would be columns.
  static bool is_possible(const Geometry& g) {
    return g.groups == 1 && g.stride.h == 1 && g.stride.w == 1 &&
           g.outputs * g.height * g.width <= g.channels * g.position_groups * g.out_pixels();
  }

  SpreadPlan(const Geometry& g, const Sizes& sizes, int64_t slots)
      : geometry(g), panel(sizes.panel), tile_pixels(sizes.tile_pixels) {
    // Wide strands first: each width divides the wider ones, so that all stand whole in a panel.
    const int64_t group = g.outputs / g.position_groups;
    int64_t column = 0, begin = 0;
    for (int64_t lanes = sizes.vector; begin < group; lanes = narrower(lanes)) {
      const int64_t end = begin + (group - begin) / lanes * lanes;
      for (int64_t o = 0; o < g.outputs; o += group) {
        for (int64_t first = begin; first < end; first += lanes) {
          for (int64_t k = 0; k < g.synapses; ++k, column += lanes) {
            strands.push_back({o + first, lanes, o / group * g.synapses + k, column});
          }
        }
      }
      begin = end;
    }
    panels = ceil_div(column, panel);
    for (std::size_t i = 0; i < strands.size(); ++i) {
      if (strands[i].column % panel == 0) first_of.push_back(static_cast<int64_t>(i));
    }
    first_of.push_back(static_cast<int64_t>(strands.size()));
    pieces = pieces_for(g, slots);
  }

  int64_t portions() const { return geometry.images * pieces; }

  // Pieces of an image with which the busiest thread has least to do.
  static int64_t pieces_for(const Geometry& g, int64_t slots) {
    const int64_t most = std::min(ceil_div(2 * slots, std::max<int64_t>(g.images, 1)), ceil_div(g.out_height, 16));
    int64_t best = 1;
    for (int64_t pieces = 2; pieces <= most; ++pieces) {
      if (rows_of_busiest(g, slots, pieces) < rows_of_busiest(g, slots, best)) best = pieces;
    }
    return best;
  }

  // Rows of pixels that it multiplies. A piece has about three that its neighbour has too.
  static int64_t rows_of_busiest(const Geometry& g, int64_t slots, int64_t pieces) {
    return ceil_div(g.images * pieces, slots) * (ceil_div(g.out_height, pieces) + 3);
  }
  int64_t packed_size() const { return panels * geometry.channels * panel; }
};

// weight (O, C, K) to [panel][channel][lane].
template <class T, class Parallel>
void pack_for_spread(const SpreadPlan& plan, const T* weight, T* packed, const Parallel& parallel) {
  const Geometry& g = plan.geometry;
  parallel(plan.panels, [&](int64_t begin, int64_t end) {
    std::fill(packed + begin * g.channels * plan.panel, packed + end * g.channels * plan.panel, T(0));
    for (int64_t p = begin; p < end; ++p) {
      for (int64_t i = plan.first_of[p]; i < plan.first_of[p + 1]; ++i) {
        const Strand& strand = plan.strands[i];
        T* to = packed + p * g.channels * plan.panel + strand.column % plan.panel;
        for (int64_t lane = 0; lane < strand.lanes; ++lane) {
          const T* from = weight + (strand.output + lane) * g.channels * g.synapses + strand.synapse % g.synapses;
          for (int64_t c = 0; c < g.channels; ++c) to[c * plan.panel + lane] = from[c * g.synapses];
        }
      }
    }
  });
}

template <class T>
struct SpreadProblem {
  const SpreadPlan& plan;
  const Synapse<T>* synapses;
  const T* input;
  const T* packed_weight;
  const T* bias;  // or null
  T* output;
  bool channels_last;
  const uint16_t* split_weight = nullptr;  // where the kernels split it
};

}  // namespace acu
