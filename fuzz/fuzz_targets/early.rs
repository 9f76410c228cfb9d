//! See `polygil_fuzz`, where the body of this target stands so that an ordinary test can replay it.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| polygil_fuzz::run("early", data));
