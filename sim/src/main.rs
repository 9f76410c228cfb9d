//! The command `polygil-sim`.

fn main() {
    for seed in 0..std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(10) {
        let outcome = polygil_sim::world::run(polygil_sim::options::Options::draw(seed), false);
        println!("{seed} {:016x} {:?} {} {} {:?}", outcome.trace_hash, outcome.answers, outcome.steps, outcome.virtual_ns / 1_000_000, outcome.failure);
    }
}
