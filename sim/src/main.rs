//! The command `polygil-sim`.

fn main() {
    let a: Vec<u64> = std::env::args().skip(1).map(|n| n.parse().unwrap()).collect();
    for seed in a[0]..a[1] {
        let outcome = polygil_sim::world::run(polygil_sim::options::Options::draw(seed), a.len()>2);
        println!("{seed} {:016x} {:?} {} {} {:?}", outcome.trace_hash, outcome.answers, outcome.steps, outcome.virtual_ns / 1_000_000, outcome.failure);
        if a.len() > 2 {
            println!("{:?}", outcome.options);
            let n = outcome.trace.len();
            for e in &outcome.trace[n.saturating_sub(a[2] as usize)..] { println!("{e:?}"); }
        }
    }
}
