//! Every sentence of PEP 3333 and of the ASGI specifications that says MUST or SHOULD has its place: a case, or a reason why none can be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use polygil_conformance::suite::Suite;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_must_and_should_of_wsgi_and_asgi_has_its_place() {
    let suite = Suite::load(root()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let ids: BTreeSet<&str> = suite.cases.iter().map(|case| case.id.as_str()).collect();
    let path = root().join("../tests/interface_requirements.tsv");
    let text = std::fs::read_to_string(path).expect("the table");
    let mut counts = BTreeMap::new();
    let mut wrong = Vec::new();
    for line in text.lines().skip(1) {
        let cells: Vec<&str> = line.split('\t').collect();
        let [spec, _, keywords, binds, words, shown] = cells[..] else { panic!("not six columns: {line}") };
        let says = keywords.split(", ").any(|keyword| words.to_uppercase().contains(keyword));
        let unobservable = shown.strip_prefix("no: ").is_some_and(|why| why.split(' ').count() >= 5);
        let place = match binds {
            "app" | "middleware" => shown == "-",
            "nobody" => unobservable,
            "server" => unobservable || shown.split(", ").all(|id| ids.contains(id)),
            _ => false,
        };
        if !says || !place {
            wrong.push(line.to_owned());
        }
        *counts.entry((spec, binds)).or_insert(0) += 1;
    }
    assert_eq!(wrong, Vec::<String>::new(), "rows without their keyword, or whose case does not exist");
    let of = |binds: &str| counts.iter().filter(|((_, given), _)| *given == binds).map(|(_, count)| count).sum::<i32>();
    assert_eq!(
        (of("server"), of("app"), of("middleware"), of("nobody")),
        (135, 66, 12, 33),
        "as docs/CONFORMANCE.md has them"
    );
    let specs: BTreeSet<&str> = counts.keys().map(|(spec, _)| *spec).collect();
    assert_eq!(specs, ["ASGI", "ASGI HTTP and WebSocket", "ASGI Lifespan", "PEP 3333"].into());
}
