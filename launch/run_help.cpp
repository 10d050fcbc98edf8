#include "launch/run_help.hpp"

#include <boost/program_options.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "runtime/presets.hpp"

namespace moewe {
namespace {

namespace po = boost::program_options;

auto value_named(const char* name) { return po::value<std::string>()->value_name(name); }

po::options_description describe_model() {
  po::options_description model("Model");
  static const std::string presets =
      fmt::format("with generated weights (--seed): {}, or custom", fmt::join(preset_names(), ", "));
  model.add_options()("checkpoint", value_named("DIR"),
                      "folder with config.json and model.safetensors, or its shards and index")(
      "model", value_named("NAME"), presets.c_str())("hidden", value_named("N"), "custom: hidden size")(
      "intermediate", value_named("N"), "custom: intermediate size of an expert")(
      "experts", value_named("N"), "custom: number of experts")("topk", value_named("N"),
                                                                "custom: experts of a token")(
      "activation", value_named("NAME"), "custom: silu (the default), gelu, or relu, which has two matrices")(
      "two-matrix", "custom: experts without a gate")(
      "layers", value_named("LIST"),
      "layers to run, such as 0,2-3 (default: those of the input, else all MoE layers)")(
      "dtype", value_named("NAME"), "type of weights, rows and wire: f32 (the default), bf16");
  return model;
}

po::options_description describe_tokens() {
  po::options_description tokens("Tokens and routing");
  tokens.add_options()(
      "input", value_named("FILE"),
      "safetensors with layers.N.input [T, hidden]; where it also holds layers.N.output, .topk_ids or "
      ".topk_weights, the results are compared with them. Without it, tokens are generated")(
      "tokens", value_named("N"),
      "tokens per step, over all ranks; with --input its first N (default: all), with a trace by default its "
      "own")("tokens-per-rank", value_named("N"), "the same for each rank")(
      "steps", value_named("N"), "how many times to run all layers (default 1)")(
      "seed", value_named("N"), "seed of all that is generated (default 0)")(
      "routing", value_named("HOW"),
      "router (the default); or forced, with weights 1/k: uniform, lognormal:SIGMA, zipf:S, hot:K, "
      "trace:FILE "
      "(safetensors topk_ids [steps, layers, tokens, k], or npy [tokens, layers, k])")(
      "capacity-factor", value_named("F"), "bound what an expert takes (default: dropless)")(
      "capacity-rule", value_named("NAME"),
      "how the factor becomes a capacity: megatron (the default), deepspeed, vmoe, flaxformer, mesh")(
      "overflow", value_named("POLICY"),
      "what becomes of the rest: drop-last (the default), drop-lowest-weight, next-choice, error")(
      "renormalise", "scale the weights that a token keeps to the sum that all had")(
      "fair-capacity",
      "each rank gets its fair share of an expert's capacity, so that no rank's tokens crowd out those of "
      "others; "
      "what is dropped then depends on the number of ranks");
  return tokens;
}

po::options_description describe_ranks() {
  po::options_description ranks("Ranks and exchange");
  ranks.add_options()("ranks", value_named("N"),
                      "run N ranks as threads of this process; under mpirun or srun omit it")(
      "threads", value_named("N"),
      "cores per rank (default: OMP_NUM_THREADS, else cores / ranks on the node)")(
      "memory-limit", value_named("SIZE"),
      "memory of each rank, such as 2GiB: what does not fit at once is run in rounds (default: what the node "
      "has)")("placement", value_named("FILE"),
              "what moewe place wrote for as many ranks, with copies or without; or contiguous: expert e of "
              "E on rank "
              "floor(e * ranks / E) (the default)")(
      "loads", value_named("FILE"),
      "what --save-loads of an earlier run, or another system, recorded: begin with the placement planned "
      "for "
      "it, unless --placement is given; --save-loads adds this run's loads to it")(
      "spare-slots", value_named("N"),
      "slots of each rank for copies of experts, unless the placement has as many copies already (default: 1 "
      "with --rebalance, else 0)")(
      "rebalance", value_named("MODE"),
      "let experts migrate between ranks while steps go on: auto: where loads are uneven and it saves more "
      "than it costs; every:N: every N steps one layer, as far as it makes loads more even; off (the "
      "default)")(
      "measure", value_named("WHAT"),
      "what --rebalance decides by besides counts: speeds: of ranks, so that slow ones compute less; costs: "
      "of "
      "moves, which are assumed otherwise; all; off (the default): decisions then follow from loads alone")(
      "cost", value_named("FILE"),
      "what a layer's steps cost, as for moewe place: --rebalance then saves predicted time, and knows the "
      "slowness of ranks where the file tells it")(
      "migration-budget", value_named("SIZE"),
      "of weights that a rank sends in each step of any layer; auto (the default): between nodes a twentieth "
      "of what a node's link was measured to carry in a step, shared by the node's ranks, but at least one "
      "chunk of 56 KiB; inside a node 1MiB")(
      "path", value_named("NAME"),
      "auto: direct inside a node, between nodes message or two-level, whichever is quicker (the default); "
      "direct; message; two-level: between nodes, each row once per node, not on devices so far")(
      "carrier", value_named("NAME"),
      "of messages between processes: auto: the quicker one (the default); mpi; ucx; nccl: between GPUs, "
      "each of one rank, with --device gpu, on one node with --path message")(
      "calibrate", value_named("WHEN"),
      "for auto, links between nodes are measured, in less than a second: cached: once in 30 days on each "
      "cluster, kept in $MOEWE_CACHE_DIR, else ~/.cache/moewe (the default); fresh: now; off: never, auto is "
      "message between nodes, over mpi")(
      "combine", value_named("NAME"),
      "reproducible: the same bits on any number of ranks (the default); fast: one partial sum per token and "
      "rank, or node where rows go two-level; on GPUs experts are then multiplied by cuBLAS, if it is there")(
      "overlap", value_named("MODE"),
      "what is done while rows travel: shared: the shared expert "
      "and what has arrived are computed (the default); "
      "half: the same, and each step is two half-batches, one "
      "computed while the other travels; off: nothing")(
      "split", value_named("MODE"),
      "how copies of an expert share its tokens: exact: in every step at best, for counts by rank "
      "(the default); stored: for 31 steps in the proportions of an exact split before them, less evenly the "
      "fewer tokens there are")(
      "device", value_named("KIND"),
      "what layers are on: cpu: cores (the default); gpu: the ranks of the node share its GPUs; auto: GPUs "
      "where every rank has one and the options are for them, else cores; emulated: what runs on GPUs, "
      "on a thread beside each rank")(
      "device-mode", value_named("MODE"),
      "how steps are started on devices: eager: one piece of work after the other, for sizes that the ranks "
      "have agreed on (the default); graph: as one recorded graph, for at most as many tokens per rank as "
      "the run's steps have, with nothing agreed before, and the same bits; of ranks of one node, and not "
      "with --combine fast, --capacity-factor, --rebalance or --verify audit")(
      "timeout", value_named("SECONDS"),
      "end the job when a rank waits longer than this, and say who holds it up (default 120); SIGUSR1 asks "
      "where all ranks are");
  return ranks;
}

po::options_description describe_results() {
  po::options_description results("Results");
  results.add_options()("output", value_named("FILE"),
                        "write the last step's outputs, ids (-1: dropped) and weights as safetensors")(
      "resume",
      "go on from what an interrupted run with the same --output kept in FILE.kept, if it is there, to the "
      "same "
      "output")(
      "verify", value_named("LEVEL"),
      "ledger: prove in every step that no assignment is lost (the default); audit: also compare checksums "
      "of all rows and outputs that travel, and of the weights, before they are used; off")(
      "save-placement", value_named("FILE"),
      "keep the placement that the run ends with, for --placement of another; kept as it changes, so that an "
      "interrupted run leaves its latest")("save-loads", value_named("FILE"),
                                           "keep how often each expert was chosen, in all, by each rank and "
                                           "lately, for --loads of another run and of "
                                           "moewe place; kept every 16 steps, and gone on with by --resume")(
      "timeline", value_named("FILE"),
      "write when each step, layer and phase ran on each rank, and what epochs of placements did, for "
      "Perfetto "
      "and chrome://tracing")("json", value_named("FILE"), "write all results as JSON")("help,h",
                                                                                        "show this text");
  return results;
}

}  // namespace

po::options_description describe_run_options() {
  po::options_description all(
      "moewe run: execute the MoE layers of a model across ranks\n\n"
      "  mpirun -n 4 moewe run --checkpoint DIR --input FILE\n"
      "  moewe run --ranks 4 --model qwen3-30b-a3b --layers 0 --tokens 4096 --routing zipf:1 --dtype bf16\n\n"
      "Options");
  return all.add(describe_model()).add(describe_tokens()).add(describe_ranks()).add(describe_results());
}

}  // namespace moewe
