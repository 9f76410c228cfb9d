//! A fixed range of seeds holds every oracle, and the same seed is the same run: in this process, in another, alone or in company.

use std::process::{Command, Stdio};

use polygil_sim::explore::{Plan, Summary, explore};
use polygil_sim::options::Options;
use polygil_sim::world::run;

/// Small enough for a build without optimization.
const SEEDS: std::ops::Range<u64> = 0..30;

fn explored(threads: usize) -> Summary {
    let plan = Plan { threads, ..Plan::new(SEEDS) };
    explore(&plan, |_, _| ()).unwrap()
}

#[test]
fn every_oracle_holds_for_a_fixed_range() {
    let summary = explored(1);
    assert_eq!(summary.failed, [], "a failing seed is repeated by its command");
    assert_eq!((summary.seeds, summary.failures), (SEEDS.end, 0));
    // A range that reaches little proves little.
    assert!(summary.answers > 5_000, "{}", summary.answers);
    for mark in ["a worker was replaced", "a drain began", "a client reset", "as many connections as may be"] {
        assert!(summary.marks.contains_key(mark), "{mark}: {:?}", summary.marks);
    }
}

/// The idle time counted from an answer that was not written for 12 ms, since others had their turns before.
#[test]
fn no_connection_is_closed_before_it_was_idle_for_the_whole_time() {
    assert_eq!(run(Options::draw(1_795_652_129_425), false).failure, None);
}

#[test]
fn what_an_oracle_once_took_for_a_failure_is_none() {
    for (seed, what) in [
        (
            1_795_647_189_520,
            "49 bytes on their way at once, over one connection at a time, took longer than all may take",
        ),
        (1_795_647_465_179, "the only worker was given up after the end, and left tasks that nobody waited for"),
        (1_795_647_638_324, "a connection that was to make way got its turn when there was room again"),
        (1_795_647_829_767, "an answer was ready long before the client had taken the one before it"),
        (
            1_795_649_518_022,
            "a server that is stopped at once ended its half of a connection in the middle of an answer",
        ),
        (1_795_656_780_926, "a client that reads below the minimum rate was given up when it had just taken a byte"),
        (30, "a probe's content, or what all of them ask for, was more than contents may take in memory"),
        (325, "a connection made room by writing, began a call, and took the room again with what it could not write"),
        (1_795_647_802_797, "the network of a probe was slower than the slowest client that is tolerated"),
    ] {
        assert_eq!(run(Options::draw(seed), false).failure, None, "{what}: seed {seed}");
    }
}

#[test]
fn the_same_seed_is_the_same_run_whatever_else_goes_on() {
    let alone = explored(1);
    let in_company = explored(3);
    assert_eq!(
        (&alone.trace_hash, alone.answers, alone.steps),
        (&in_company.trace_hash, in_company.answers, in_company.steps)
    );
    let seeds = format!("{}..{}", SEEDS.start, SEEDS.end);
    let children: Vec<_> = (1..3)
        .map(|threads| {
            let threads = threads.to_string();
            let mut command = Command::new(env!("CARGO_BIN_EXE_polygil-sim"));
            command.args(["explore", "--json", "--seeds", &seeds, "--threads", &threads]).stdout(Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let summary: Summary = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(summary.trace_hash, alone.trace_hash);
    }
}

#[test]
fn other_seeds_are_other_runs() {
    let hashes: std::collections::BTreeSet<u64> =
        (0..20).map(|seed| run(Options::draw(seed), false).trace_hash).collect();
    assert_eq!(hashes.len(), 20);
}

#[test]
fn keeping_the_trace_changes_nothing() {
    for seed in 0..5 {
        let (kept, not) = (run(Options::draw(seed), true), run(Options::draw(seed), false));
        assert_eq!((kept.trace_hash, kept.steps), (not.trace_hash, not.steps));
        assert_eq!((kept.trace.len() as u64, not.trace.len()), (kept.steps, 0));
    }
}

#[test]
fn parts_of_a_range_make_the_whole() {
    let part = |seeds| explore(&Plan::new(seeds), |_, _| ()).unwrap();
    let (first, second) = (part(0..3), part(3..7));
    let merged = Summary::merge(vec![second.clone(), first.clone()]).unwrap();
    assert_eq!(merged.ranges, [(0, 3), (3, 7)]);
    assert_eq!((merged.seeds, merged.answers), (7, first.answers + second.answers));
    assert_eq!(merged.trace_hash, Summary::merge(vec![first.clone(), second]).unwrap().trace_hash);
    assert!(Summary::merge(vec![first.clone(), first]).is_err());
}

#[test]
fn exit_codes_tell_failures_from_mistakes_of_usage() {
    let sim = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_polygil-sim")).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = sim(&["run", "--seed", "3"]);
    assert_eq!(code, Some(0));
    assert!(text.contains("every oracle held") && text.contains("trace hash "), "{text}");
    assert_eq!(sim(&["run", "--seed", "3", "--set", "nonsense=1"]).0, Some(2));
    assert_eq!(sim(&["explore", "--seeds", "5..1"]).0, Some(2));
    assert_eq!(sim(&["explore"]).0, Some(2));
}

#[test]
fn what_shrink_writes_replays_as_the_same_run() {
    use polygil_sim::shrink::{Recipe, shrink};

    // No seed fails, so a recipe is of one that holds; shrinking it says so.
    let options = Options::draw(2);
    assert_eq!(shrink(options.clone(), |_, _, _| ()), None);
    let recipe = Recipe::of(options, None);
    let directory = std::env::temp_dir().join(format!("polygil-sim-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("recipe.json");
    std::fs::write(&file, serde_json::to_string(&recipe).unwrap()).unwrap();
    assert_eq!(Recipe::read(&file).unwrap(), recipe);
    let output = Command::new(env!("CARGO_BIN_EXE_polygil-sim")).arg("replay").arg(&file).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(output.status.success() && text.contains(&format!("trace hash {}", recipe.trace_hash)), "{text}");
    assert!(!text.contains("another run"), "{text}");
}

#[test]
fn the_trace_is_one_that_viewers_open_and_the_page_needs_nothing_else() {
    let outcome = run(Options::draw(2), true);
    let trace = polygil_sim::picture::perfetto(&outcome);
    let events = trace["traceEvents"].as_array().unwrap();
    let count =
        |phase: &str, pid: u64| events.iter().filter(|event| event["ph"] == phase && event["pid"] == pid).count();
    // Each connection and each handler that begins ends, on the track of its own.
    assert!(count("B", 2) > 0 && count("B", 2) == count("E", 2), "{} {}", count("B", 2), count("E", 2));
    assert!(count("B", 1) > 0 && count("B", 1) == count("E", 1), "{} {}", count("B", 1), count("E", 1));
    // Each queue has a track, on which every depth is another than the one before, and the last is none.
    let queues = outcome.options.workers as usize;
    let mut tracks = std::collections::BTreeMap::<&str, Vec<u64>>::new();
    for event in events.iter().filter(|event| event["ph"] == "C" && event["pid"] == 4) {
        let name = event["name"].as_str().unwrap();
        assert!(
            name == "overflow"
                || name.strip_prefix("lane ").is_some_and(|lane| lane.parse::<usize>().unwrap() < queues)
        );
        tracks.entry(name).or_default().push(event["args"]["tasks"].as_u64().unwrap());
    }
    assert!(!tracks.is_empty());
    for (name, depths) in tracks {
        assert!(depths.first() != Some(&0) && depths.windows(2).all(|pair| pair[0] != pair[1]), "{name}: {depths:?}");
        assert_eq!(depths.last(), Some(&0), "{name}");
    }
    let page = polygil_sim::picture::page(&outcome);
    assert!(
        !page.contains("\"DATA\"") && !page.contains("src=") && !page.contains("http://") && !page.contains("https://")
    );
    assert!(page.contains(&format!("{:016x}", outcome.trace_hash)));
}
