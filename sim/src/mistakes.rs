//! The mistakes that the sources can be told to make, and what the simulator finds each by.
//!
//! A build with the feature `mistakes` can make any of them; it is never part of what ships (`src/mistakes.rs` of polygil). The
//! names are those that stand in the sources.

/// One mistake.
#[derive(Clone, Copy, Debug)]
pub struct Mistake {
    /// Its name in the sources.
    pub name: &'static str,
    /// What kind of bug it is.
    pub kind: &'static str,
    /// What it amounts to.
    pub what: &'static str,
}

/// All that the simulator is to find.
pub const ALL: &[Mistake] =
    &[Mistake { name: "no_recheck", kind: "lost wakeup", what: "a worker lies down without looking around once more" }];

/// The mistake of that name.
pub fn find(name: &str) -> Result<&'static Mistake, String> {
    if !cfg!(feature = "mistakes") {
        return Err("this build makes no mistakes: build it with --features mistakes".to_owned());
    }
    ALL.iter().find(|mistake| mistake.name == name).ok_or_else(|| {
        let names: Vec<_> = ALL.iter().map(|mistake| mistake.name).collect();
        format!("there is no mistake {name:?}; there are {}", names.join(", "))
    })
}
