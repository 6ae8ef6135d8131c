// What a tile sees of the image through each synapse: products with columns that are known to be zero are passed over. At
// 8 x 8 pixels a sixth of the work of a 3 x 3 unit on the grid is such, for half of it whole rows do not see the image; at
// 16 x 16 a twelfth.

#pragma once

#include <vector>

#include "columns.h"
#include "plan.h"

namespace acu::ACU_INSTRUCTION_SET {

constexpr int64_t kRows = ACU_MICRO_ROWS;

// Output pixels of a tile go in groups of the micro-kernel's rows: pieces of a row, or one pixel of several images where these
// are interleaved. A group is seen through a synapse of the block when one of its pixels looks at a pixel of the image. Where a
// chunk of channels is a panel wide, a panel of columns is one synapse; the narrower chunks behind them share panels, and those
// are always multiplied.
class Sight {
 public:
  struct Run {
    int64_t group, begin, end;  // the first group, and pixels
  };

  void start(int64_t synapses, int64_t channels, int64_t panel, int64_t pixels, int64_t group) {
    synapses_ = synapses;
    panels_ = channels / panel * synapses;
    all_panels_ = ceil_div(channels * synapses, panel);
    pixels_ = pixels;
    group_ = group;
    groups_ = ceil_div(pixels, group);
    seen_.assign(std::max(synapses, all_panels_) * groups_, 0);
  }

  // Pixels [begin, end) of the tile see something through synapse k of the block.
  void see(int64_t k, int64_t begin, int64_t end) {
    if (begin >= end) return;
    const int64_t first = begin / group_, last = (end - 1) / group_;
    std::fill_n(seen_.begin() + k * groups_ + first, last - first + 1, 1);
  }

  // Once all is seen: the runs of pixels of each synapse, and for each panel what its synapse sees.
  void finish() {
    runs_.clear();
    first_run_.clear();
    for (int64_t k = 0; k < synapses_; ++k) {
      first_run_.push_back(static_cast<int64_t>(runs_.size()));
      for (int64_t group = 0; group < groups_; ++group) {
        if (!seen_[k * groups_ + group]) continue;
        const int64_t begin = group * group_, end = std::min(begin + group_, pixels_);
        if (static_cast<int64_t>(runs_.size()) > first_run_[k] && runs_.back().end == begin) {
          runs_.back().end = end;
        } else {
          runs_.push_back({group, begin, end});
        }
      }
    }
    first_run_.push_back(static_cast<int64_t>(runs_.size()));
    const auto row = [&](int64_t panel) { return seen_.begin() + panel * groups_; };
    for (int64_t panel = synapses_; panel < panels_; ++panel) {
      std::copy_n(row(panel - synapses_), groups_, row(panel));
    }
    for (int64_t panel = panels_; panel < all_panels_; ++panel) std::fill_n(row(panel), groups_, 1);
  }

  // Whether a group sees anything in a panel of the block's columns.
  bool sees(int64_t panel, int64_t group) const { return seen_[panel * groups_ + group]; }

  int64_t group() const { return group_; }

  // Calls f(first group, first pixel, pixels) for the runs of pixels that see something in a panel of columns.
  template <class F>
  ACU_INLINE void over_runs(int64_t panel, const F& f) const {
    if (panel >= panels_) {
      f(0, 0, pixels_);
      return;
    }
    const int64_t k = panel % synapses_;
    for (int64_t i = first_run_[k]; i < first_run_[k + 1]; ++i) f(runs_[i].group, runs_[i].begin, runs_[i].end - runs_[i].begin);
  }

 private:
  int64_t synapses_ = 0, panels_ = 0, all_panels_ = 0, pixels_ = 0, group_ = 1, groups_ = 0;
  std::vector<unsigned char> seen_;  // [panel][group]; until it is finished [synapse][group]
  std::vector<Run> runs_;
  std::vector<int64_t> first_run_;
};

}  // namespace acu::ACU_INSTRUCTION_SET
