// How the work of a call is divided: output pixels into slices whose columns fit into the scratch memory, a slice's
// entries into threads.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <type_traits>

#include "geometry.cuh"

// Threads that walk over stretches of pixels: enough for the largest GPU (about 300,000 resident threads) to be full,
// few enough that each thread's constants serve many pixels and that partial sums stay small.
#ifndef ACU_WALKERS
#define ACU_WALKERS (int64_t{1} << 19)
#endif

namespace acu::cuda {

// Not tuned. Large enough that a slice fills any GPU many times; smaller ones might keep the columns in
// the second-level cache. A setting, since what several slices and cut images do is else only seen with huge images.
C10_HIDDEN inline std::atomic<int64_t> scratch_bytes{int64_t{256} << 20};

constexpr int64_t rounded_up_quotient(int64_t number, int64_t divisor) { return (number + divisor - 1) / divisor; }

// Output pixels in slices of much the same size. Whole images where one fits into the scratch memory; else each image is
// cut by itself, into whole rows where one fits, and its gradient accumulated.
struct Slices {
  int64_t pixels;  // of all images
  int64_t size;    // of the largest slice, which is the first
  int64_t period;  // a slice ends where so many pixels end: an image's, or all
  bool whole_images;

  Slices(const Geometry& geometry, int64_t images, int64_t element_bytes) {
    const int64_t row_bytes = geometry.row_length() * element_bytes;
    // cuBLAS takes 32-bit extents.
    const int64_t affordable = std::min(std::max<int64_t>(scratch_bytes / row_bytes, 1), int64_t{1} << 30);
    pixels = images * geometry.output_pixels();
    whole_images = affordable >= geometry.output_pixels();
    if (whole_images) {
      size = even_part(images, affordable / geometry.output_pixels()) * geometry.output_pixels();
      period = pixels;
    } else {
      const int64_t width = geometry.out_width;
      size = affordable < width ? affordable : even_part(geometry.out_height, affordable / width) * width;
      period = geometry.output_pixels();
    }
  }

  bool is_one() const { return size >= pixels; }

  // Calls function with the first pixel of each slice and their number.
  template <typename Function>
  void for_each(const Function& function) const {
    for (int64_t begin = 0; begin < pixels; begin += period) {
      for (int64_t first = begin; first < begin + period; first += size) {
        function(first, std::min(size, begin + period - first));
      }
    }
  }

 private:
  // The largest of the parts, as few and as even as parts of at most `most` can be.
  static int64_t even_part(int64_t number, int64_t most) {
    const int64_t parts = std::max<int64_t>(rounded_up_quotient(number, most), 1);
    return rounded_up_quotient(number, parts);
  }
};

// Neighbouring channels that a thread takes, as a compile-time constant: 16 bytes of them where `count` is a multiple and
// all addresses allow, else one. Calls function with it.
template <typename T, typename Function>
void with_width(int64_t count, std::initializer_list<const torch::stable::Tensor*> tensors, const Function& function) {
  constexpr int kWidth = 16 / sizeof(T);
  const bool aligned = std::all_of(tensors.begin(), tensors.end(), [](const torch::stable::Tensor* tensor) {
    return reinterpret_cast<uintptr_t>(tensor->data_ptr()) % 16 == 0;
  });
  if (aligned && count % kWidth == 0) {
    function(std::integral_constant<int, kWidth>{});
  } else {
    function(std::integral_constant<int, 1>{});
  }
}

// Over how many pixels a thread walks, and how many such stretches there are.
struct Stretches {
  int64_t length, count;

  // A thread for each entry of a stretch, about as many threads as are asked for.
  Stretches(int64_t pixels, int64_t entries, int64_t threads)
      : length(std::max<int64_t>(rounded_up_quotient(pixels * entries, std::max<int64_t>(threads, 1)), 1)),
        count(rounded_up_quotient(pixels, length)) {}
};

}  // namespace acu::cuda
