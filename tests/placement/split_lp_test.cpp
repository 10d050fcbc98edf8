// The least that a split can reach, against a solver of linear programs that knows nothing of flows.

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <glpk.h>
#include <gtest/gtest.h>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <vector>

#include "placement/eplb.hpp"
#include "placement/split.hpp"

namespace moewe {
namespace {

using Loads = std::vector<std::int64_t>;

/// The program of one split: minimise T, where an expert's shares sum to its load and a rank's to T at most.
class SplitProgram {
 public:
  SplitProgram(const Placement& placement, const Loads& loads)
      : problem_(glp_create_prob(), glp_delete_prob) {
    glp_set_obj_dir(problem_.get(), GLP_MIN);
    largest_ = glp_add_cols(problem_.get(), 1);
    glp_set_obj_coef(problem_.get(), largest_, 1);
    glp_set_col_bnds(problem_.get(), largest_, GLP_LO, 0, 0);
    first_rank_ = glp_add_rows(problem_.get(), static_cast<int>(placement.num_ranks()));
    for (std::size_t rank = 0; rank < placement.num_ranks(); ++rank) {
      glp_set_row_bnds(problem_.get(), row_of(rank_at(rank)), GLP_UP, 0, 0);
      add(row_of(rank_at(rank)), largest_, -1);
    }
    for (std::size_t expert = 0; expert < loads.size(); ++expert)
      add_expert(placement.slots_of(expert_at(expert)), static_cast<double>(loads[expert]));
  }

  double optimum() {
    glp_load_matrix(problem_.get(), static_cast<int>(rows_.size()) - 1, rows_.data(), columns_.data(),
                    values_.data());
    glp_smcp options;
    glp_init_smcp(&options);
    options.msg_lev = GLP_MSG_OFF;
    options.presolve = GLP_ON;
    EXPECT_EQ(glp_simplex(problem_.get(), &options), 0);
    EXPECT_EQ(glp_get_status(problem_.get()), GLP_OPT);
    return glp_get_obj_val(problem_.get());
  }

 private:
  int row_of(Rank rank) const { return first_rank_ + number(rank); }

  void add_expert(std::span<const Slot> slots, double load) {
    const int row = glp_add_rows(problem_.get(), 1);
    glp_set_row_bnds(problem_.get(), row, GLP_FX, load, load);
    for (const Slot& slot : slots) {
      const int share = glp_add_cols(problem_.get(), 1);
      glp_set_col_bnds(problem_.get(), share, GLP_LO, 0, 0);
      add(row, share, 1);
      add(row_of(slot.rank), share, 1);
    }
  }

  void add(int row, int column, double value) {
    rows_.push_back(row);
    columns_.push_back(column);
    values_.push_back(value);
  }

  std::unique_ptr<glp_prob, void (*)(glp_prob*)> problem_;
  int largest_ = 0;
  int first_rank_ = 0;
  std::vector<int> rows_{0};  // counted from 1
  std::vector<int> columns_{0};
  std::vector<double> values_{0};
};

/// In whole assignments: the program's optimum rounded up, as flows of whole capacities are whole.
void expect_optimal(const Placement& placement, const Loads& loads) {
  const double optimum = SplitProgram(placement, loads).optimum();
  const double allowed = 1e-6 + 1e-9 * optimum;
  EXPECT_EQ(split_loads(placement, loads).largest, static_cast<std::int64_t>(std::ceil(optimum - allowed)))
      << testing::PrintToString(loads) << " " << optimum;
}

TEST(Split, IsTheOptimumOfItsLinearProgram) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    const std::size_t num_ranks = 1 + random() % 6;
    Loads loads(1 + random() % 12);
    for (std::int64_t& load : loads)
      load = static_cast<std::int64_t>(random() % 3 == 0 ? random() % 500 : random() % 30);
    std::vector<std::vector<ExpertId>> experts_of_rank(num_ranks);
    for (std::size_t expert = 0; expert < loads.size(); ++expert) {
      for (std::size_t copy = 0; copy <= random() % 4; ++copy)
        experts_of_rank[random() % num_ranks].push_back(expert_at(expert));
    }
    expect_optimal(Placement(0, loads.size(), std::move(experts_of_rank)), loads);
  }
}

TEST(Split, IsTheOptimumOnRecordedLoads) {
  const char* data = std::getenv("MOEWE_DATA");
  if (data == nullptr) GTEST_SKIP() << "MOEWE_DATA is not set";
  const std::filesystem::path folder = std::filesystem::path(data) / "deepseek_v3_load";
  for (const char* table : {"prefill_in1024", "decode_in2000out100"}) {
    const auto json = nlohmann::json::parse(std::ifstream(folder / (std::string(table) + ".json")));
    const auto loads = json["logical_count"].get<std::vector<Loads>>();
    for (std::size_t layer = 3; layer < loads.size(); layer += 12) {
      // EPLB of another layer: a placement that the loads have drifted away from
      for (const std::size_t placed : {layer, layer - 1 < 3 ? layer + 1 : layer - 1}) {
        expect_optimal(eplb_placement(loads[placed], {288, 32, 1, 1}), loads[layer]);
        expect_optimal(eplb_placement(loads[placed], {320, 64, 1, 1}), loads[layer]);
      }
    }
  }
}

}  // namespace
}  // namespace moewe
