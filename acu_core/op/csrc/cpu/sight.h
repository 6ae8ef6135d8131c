// What a tile sees of the image through each synapse: products with columns that are known to be zero are passed over. At
// 8 x 8 pixels a twelfth of the work of a 3 x 3 unit on the grid is such, at 16 x 16 half of that.

#pragma once

#include <vector>

#include "columns.h"
#include "plan.h"

namespace acu::ACU_INSTRUCTION_SET {

constexpr int64_t kRows = ACU_MICRO_ROWS;

// Output pixels of a tile go in groups of the micro-kernel's rows. A group is seen through a synapse of the block when one
// of its pixels looks at a pixel of the image. Where a chunk of channels is a panel wide, a panel of columns is one synapse;
// the narrower chunks behind them share panels, and those are always multiplied.
class Sight {
 public:
  struct Run {
    int64_t begin, end;  // pixels
  };

  void start(int64_t synapses, int64_t channels, int64_t panel, int64_t pixels) {
    synapses_ = synapses;
    panels_ = channels / panel * synapses;
    pixels_ = pixels;
    groups_ = ceil_div(pixels, kRows);
    seen_.assign(synapses * groups_, 0);
  }

  // Pixels [begin, end) of the tile see something through synapse k of the block.
  void see(int64_t k, int64_t begin, int64_t end) {
    if (begin >= end) return;
    for (int64_t group = begin / kRows; group <= (end - 1) / kRows; ++group) seen_[k * groups_ + group] = 1;
  }

  // Once all is seen: the runs of pixels of each synapse.
  void finish() {
    runs_.clear();
    first_run_.clear();
    for (int64_t k = 0; k < synapses_; ++k) {
      first_run_.push_back(static_cast<int64_t>(runs_.size()));
      for (int64_t group = 0; group < groups_; ++group) {
        if (!seen_[k * groups_ + group]) continue;
        const int64_t begin = group * kRows, end = std::min(begin + kRows, pixels_);
        if (static_cast<int64_t>(runs_.size()) > first_run_[k] && runs_.back().end == begin) {
          runs_.back().end = end;
        } else {
          runs_.push_back({begin, end});
        }
      }
    }
    first_run_.push_back(static_cast<int64_t>(runs_.size()));
  }

  // Whether the group that begins at `pixel` sees anything in a panel of the block's columns.
  bool sees(int64_t panel, int64_t pixel) const {
    return panel >= panels_ || seen_[panel % synapses_ * groups_ + pixel / kRows];
  }

  // Calls f(first pixel, pixels) for the runs of pixels that see something in a panel of columns.
  template <class F>
  ACU_INLINE void over_runs(int64_t panel, const F& f) const {
    if (panel >= panels_) {
      f(0, pixels_);
      return;
    }
    const int64_t k = panel % synapses_;
    for (int64_t i = first_run_[k]; i < first_run_[k + 1]; ++i) f(runs_[i].begin, runs_[i].end - runs_[i].begin);
  }

 private:
  int64_t synapses_ = 0, panels_ = 0, pixels_ = 0, groups_ = 0;
  std::vector<unsigned char> seen_;  // [synapse][group]
  std::vector<Run> runs_;
  std::vector<int64_t> first_run_;
};

}  // namespace acu::ACU_INSTRUCTION_SET
