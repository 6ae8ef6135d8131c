// Counts what the CUDA operator does when it runs on the CPU: its launches, and the memory that each of them reads and
// writes. Within a launch every byte counts once, as a cache without bounds would have it: what must move at the least.
// torch's own operations count what they are given and what they give; what they do inside is not seen.
//
// To be included before the operator's headers, which call the macros below.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <memory>
#include <string>
#include <typeinfo>
#include <unordered_map>

// Addresses, in units of two bytes: the smallest number that the operator knows.
class TouchedMemory {
 public:
  void touch(const void* address, int64_t bytes) {
    const auto first = reinterpret_cast<uintptr_t>(address) / kUnit;
    const auto end = (reinterpret_cast<uintptr_t>(address) + bytes + kUnit - 1) / kUnit;
    for (auto unit = first; unit < end;) {
      const auto number = unit / kUnitsInPage;
      if (page_ == nullptr || number != page_number_) {
        auto& page = pages_[number];
        if (page == nullptr) page = std::make_unique<Page>();
        page_ = page.get();
        page_number_ = number;
      }
      // As many as one word of the page holds.
      const auto bit = unit % 64, units = std::min<uintptr_t>(64 - bit, end - unit);
      const uint64_t mask = (~uint64_t{0} >> (64 - units)) << bit;
      auto& word = (*page_)[unit % kUnitsInPage / 64];
      units_ += std::popcount(mask & ~word);
      word |= mask;
      unit += units;
    }
  }
  int64_t bytes() const { return units_ * kUnit; }

 private:
  static constexpr uintptr_t kUnit = 2, kUnitsInPage = 1 << 14;
  using Page = std::array<uint64_t, kUnitsInPage / 64>;
  std::unordered_map<uintptr_t, std::unique_ptr<Page>> pages_;
  Page* page_ = nullptr;
  uintptr_t page_number_ = 0;
  int64_t units_ = 0;
};

class TrafficLedger {
 public:
  bool counting = false;

  void begin() {
    counting = true;
    lines_.clear();
    launch_.clear();
  }
  // A line for each launch, in order: its name, the bytes it read and those it wrote.
  std::string end() {
    close_launch();
    counting = false;
    return lines_;
  }
  void launch(const char* name) {
    if (!counting) return;
    close_launch();
    launch_ = name;
  }
  void operation(const char* name, int64_t read, int64_t written) {
    if (!counting) return;
    close_launch();
    add_line(name, read, written);
  }
  void read(const void* address, int64_t bytes) {
    if (counting) read_.touch(address, bytes);
  }
  void write(const void* address, int64_t bytes) {
    if (counting) written_.touch(address, bytes);
  }

 private:
  void close_launch() {
    if (!launch_.empty()) add_line(launch_, read_.bytes(), written_.bytes());
    launch_.clear();
    read_ = TouchedMemory{};
    written_ = TouchedMemory{};
  }
  void add_line(const std::string& name, int64_t read, int64_t written) {
    lines_ += name + " " + std::to_string(read) + " " + std::to_string(written) + "\n";
  }

  std::string lines_, launch_;
  TouchedMemory read_, written_;
};

inline TrafficLedger ledger;

#define ACU_ON_READ(address, bytes) ledger.read(address, bytes)
#define ACU_ON_WRITE(address, bytes) ledger.write(address, bytes)
#define ACU_ON_LAUNCH(body) ledger.launch(typeid(body).name())
#define ACU_ON_OPERATION(name, bytes_read, bytes_written) ledger.operation(name, bytes_read, bytes_written)
