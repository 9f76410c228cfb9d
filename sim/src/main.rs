//! The command `polygil-sim`. Exit codes: 0 every oracle held, 1 one did not, 2 the command was wrong or could not be carried out.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use polygil_sim::capacity::{Load, Model, Shape};
use polygil_sim::explore::{self, Plan, Summary};
use polygil_sim::options::Options;
use polygil_sim::out::{arguments, complain};
use polygil_sim::shrink::{self, Recipe};
use polygil_sim::{measure, picture, plot, report, say, sayln, world};

/// Runs the shipping polygil server in a world where a seed decides everything.
#[derive(Parser)]
#[command(name = "polygil-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs one seed and prints its timeline.
    Run {
        #[command(flatten)]
        one: One,
        /// Steps of the timeline to print, the last ones.
        #[arg(long, default_value_t = 40)]
        steps: usize,
    },
    /// Runs a range of seeds on all cores and prints a summary.
    Explore {
        /// The seeds, as A..B without B.
        #[arg(long, value_parser = range, required_unless_present = "for")]
        seeds: Option<Range<u64>>,
        /// Stop after this long (10m, 30s). Without --seeds, begins at a seed made from the time, and prints it.
        #[arg(long = "for", value_parser = duration)]
        r#for: Option<Duration>,
        /// Print one JSON object and nothing else.
        #[arg(long)]
        json: bool,
        /// Go on after a failure.
        #[arg(long)]
        collect: bool,
        /// Threads; all cores if not given.
        #[arg(long)]
        threads: Option<usize>,
        #[command(flatten)]
        set: Set,
    },
    /// Finds the smallest workload and the fewest faults with which the seed still fails, and writes them to a file.
    Shrink {
        #[command(flatten)]
        one: One,
        /// The file; `replay` runs it.
        #[arg(long, default_value = "failure.json")]
        out: PathBuf,
    },
    /// Runs what `shrink` wrote, and says whether it is the same run.
    Replay {
        /// The file.
        file: PathBuf,
        /// Steps of the timeline to print, the last ones.
        #[arg(long, default_value_t = 40)]
        steps: usize,
    },
    /// Writes the run of a seed as a trace that opens in Perfetto (ui.perfetto.dev) or chrome://tracing.
    Trace {
        #[command(flatten)]
        one: One,
        /// The file.
        #[arg(long)]
        out: PathBuf,
    },
    /// Writes the run of a seed as a page that plays it and needs nothing else.
    Page {
        #[command(flatten)]
        one: One,
        /// The file.
        #[arg(long)]
        out: PathBuf,
    },
    /// Asks the shipping dispatch under a load model for its throughput and latency with 1 to 128 workers.
    Capacity {
        /// Mean time of a handler, with what its worker does around it, in microseconds.
        #[arg(long, default_value_t = 1000.0)]
        service_us: f64,
        /// What the I/O thread spends on a request, in microseconds.
        #[arg(long, default_value_t = 10.0)]
        io_us: f64,
        /// What it takes to wake a worker, in microseconds.
        #[arg(long, default_value_t = 10.0)]
        wake_us: f64,
        /// The part by which each further worker slows the others down.
        #[arg(long, default_value_t = 0.0)]
        interference: f64,
        /// A speed-up that was measured, as workers=times: goes beside the model's.
        #[arg(long, value_parser = speedup)]
        measured: Vec<(usize, f64)>,
        /// Where the plots go; none if not given.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Asks a server that runs as fast as it answers, to calibrate `capacity` and to check what it predicts.
    Measure {
        /// What to ask for, http://HOST:PORT/PATH.
        url: String,
        /// Clients, each with a connection.
        #[arg(long, default_value_t = 8)]
        clients: usize,
        /// For how long.
        #[arg(long = "for", default_value = "5s", value_parser = duration)]
        r#for: Duration,
    },
    /// Makes each deliberate mistake in turn and says how many seeds it takes to find it (needs the feature `mistakes`).
    Mistakes {
        /// Seeds to try for each.
        #[arg(long, default_value_t = 5000)]
        seeds_max: u64,
    },
    /// Puts the JSON of several ranges together.
    Merge {
        /// Files that `explore --json` wrote.
        files: Vec<PathBuf>,
        /// Print one JSON object and nothing else.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
struct One {
    /// The seed.
    #[arg(long)]
    seed: u64,
    #[command(flatten)]
    set: Set,
}

#[derive(Args)]
struct Set {
    /// Set an option to a value instead of the drawn one: name=value.
    #[arg(long, value_parser = assignment)]
    set: Vec<(String, u64)>,
    /// Have the sources make this mistake (needs a build with the feature `mistakes`).
    #[arg(long)]
    mistake: Option<String>,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let parts = text.split_once("..").and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    match parts {
        Some((from, to)) if from < to => Ok(from..to),
        _ => Err("seeds are given as A..B, with A below B".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..split].parse().map_err(|_| "a time is a number and s, m or h".to_owned())?;
    let unit = match &text[split..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err("a time is a number and s, m or h".to_owned()),
    };
    Ok(Duration::from_secs(number * unit))
}

fn speedup(text: &str) -> Result<(usize, f64), String> {
    let parts = text.split_once('=').and_then(|(workers, times)| Some((workers.parse().ok()?, times.parse().ok()?)));
    parts.ok_or_else(|| "a speed-up is given as workers=times".to_owned())
}

fn assignment(text: &str) -> Result<(String, u64), String> {
    let parts = text.split_once('=').and_then(|(name, value)| Some((name.to_owned(), value.parse().ok()?)));
    parts.ok_or_else(|| "an option is set as name=number".to_owned())
}

// A run is many small allocations on one thread; this takes a tenth off it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let read = arguments::<Cli>();
    match read.and_then(|cli| cli.map_or(Ok(true), |cli| carry_out(cli.command))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            complain(&format!("polygil-sim: {error}"));
            ExitCode::from(2)
        }
    }
}

/// Whether every oracle held.
fn carry_out(command: Command) -> Result<bool, String> {
    match command {
        Command::Run { one, steps } => {
            let outcome = world::run(one.options()?, true);
            say!("{}{}", report::timeline(&outcome, steps), report::outcome(&outcome));
            Ok(outcome.failure.is_none())
        }
        Command::Explore { seeds, r#for, json, collect, threads, set } => {
            set.check()?;
            let fresh = || {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                let from = now.as_millis() as u64;
                from..u64::MAX
            };
            let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            let plan = Plan {
                seeds: seeds.unwrap_or_else(fresh),
                limit: r#for,
                stop_at_failure: !collect,
                threads: threads.unwrap_or(cores),
                set: set.set,
                mistake: set.mistake,
            };
            let bar = progress_bar(&plan, json);
            let summary = explore::explore(&plan, |done, failed| {
                bar.set_position(done);
                bar.set_message(format!("{failed} failed"));
            })?;
            bar.finish_and_clear();
            show(&summary, json)
        }
        Command::Shrink { one, out } => {
            let options = one.options()?;
            let Some(least) =
                shrink::shrink(options, |name, value, runs| complain(&format!("{name}={value} after {runs} runs")))
            else {
                sayln!("seed {} does not fail", one.seed);
                return Ok(true);
            };
            let recipe = Recipe::of(least, one.set.mistake.clone());
            let text = serde_json::to_string_pretty(&recipe).map_err(|error| error.to_string())?;
            write(&out, &text)?;
            let mistake =
                one.set.mistake.map(|mistake| format!(" (built with the mistake {mistake})")).unwrap_or_default();
            sayln!("polygil-sim replay {}{mistake}", out.display());
            Ok(false)
        }
        Command::Replay { file, steps } => {
            let recipe = Recipe::read(&file)?;
            let set = Set { set: Vec::new(), mistake: recipe.mistake };
            set.check()?;
            let outcome = world::run(recipe.options, true);
            say!("{}{}", report::timeline(&outcome, steps), report::outcome(&outcome));
            if format!("{:016x}", outcome.trace_hash) != recipe.trace_hash {
                sayln!(
                    "this is another run than the file's, which has the hash {}: the sources differ",
                    recipe.trace_hash
                );
            }
            Ok(outcome.failure.is_none())
        }
        Command::Trace { one, out } => {
            let outcome = world::run(one.options()?, true);
            write(&out, &picture::perfetto(&outcome).to_string())?;
            Ok(outcome.failure.is_none())
        }
        Command::Page { one, out } => {
            let outcome = world::run(one.options()?, true);
            write(&out, &picture::page(&outcome))?;
            Ok(outcome.failure.is_none())
        }
        Command::Capacity { service_us, io_us, wake_us, interference, measured, out } => {
            let ns = |us: f64| (us * 1000.0) as u64;
            let model = Model {
                workers: 1,
                placement: 2,
                service_ns: ns(service_us).max(1),
                shape: Shape::Exponential,
                io_ns: ns(io_us),
                wake_ns: ns(wake_us),
                interference,
                cores: 0,
                load: Load::Open(0.9),
                requests: 0,
            };
            say!("{}", plot::report(&model, &measured, out.as_deref())?);
            Ok(true)
        }
        Command::Measure { url, clients, r#for } => {
            let measured = measure::closed_loop(&url, clients, r#for)?;
            let [p50, p99] = measured.percentiles.map(report::time);
            sayln!("{clients} clients: {:.0} answers/s, p50 {p50}, p99 {p99}", measured.throughput);
            Ok(true)
        }
        Command::Mistakes { seeds_max } => {
            let mut all_found = true;
            sayln!("| mistake | kind | what it amounts to | seeds | oracle |\n|---|---|---|--:|---|");
            for mistake in polygil_sim::mistakes::ALL {
                polygil_sim::mistakes::find(mistake.name)?;
                let plan =
                    Plan { mistake: Some(mistake.name.to_owned()), stop_at_failure: true, ..Plan::new(0..seeds_max) };
                let summary = explore::explore(&plan, |_, _| ())?;
                let found = summary.failed.first();
                all_found &= found.is_some();
                let (seeds, oracle) = match found {
                    Some(failed) => ((failed.seed + 1).to_string(), failed.failure.oracle.clone()),
                    None => (format!("not in {seeds_max}"), "-".to_owned()),
                };
                sayln!("| `{}` | {} | {} | {seeds} | {oracle} |", mistake.name, mistake.kind, mistake.what);
            }
            Ok(all_found)
        }
        Command::Merge { files, json } => {
            let read = |path: &PathBuf| -> Result<Summary, String> {
                let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
                serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
            };
            let parts = files.iter().map(read).collect::<Result<Vec<_>, _>>()?;
            show(&Summary::merge(parts)?, json)
        }
    }
}

impl One {
    fn options(&self) -> Result<Options, String> {
        self.set.check()?;
        explore::options(self.seed, &self.set.set)
    }
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

impl Set {
    /// Refuses a mistake that nobody would make, and makes a known one from now on.
    fn check(&self) -> Result<(), String> {
        if let Some(mistake) = &self.mistake {
            polygil_sim::mistakes::find(mistake)?;
        }
        explore::choose(self.mistake.as_deref());
        Ok(())
    }
}

fn show(summary: &Summary, json: bool) -> Result<bool, String> {
    if json {
        sayln!("{}", serde_json::to_string(summary).map_err(|error| error.to_string())?);
    } else {
        say!("{}", report::summary(summary));
    }
    Ok(summary.failures == 0)
}

fn progress_bar(plan: &Plan, json: bool) -> ProgressBar {
    if json {
        return ProgressBar::hidden();
    }
    let known = plan.seeds.end != u64::MAX;
    let bar = if known { ProgressBar::new(plan.seeds.end - plan.seeds.start) } else { ProgressBar::no_length() };
    let template = if known { "{bar:40} {pos}/{len} seeds, {per_sec}, {msg}" } else { "{spinner} {pos} seeds, {msg}" };
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}
