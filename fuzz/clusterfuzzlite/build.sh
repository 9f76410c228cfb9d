#!/bin/bash -eu
# Leaves in $OUT each target with its seeds, its dictionary and its options, under the names that libFuzzer's runners look for.
# Called in the root of the repository.
export CARGO_PROFILE_RELEASE_LTO=false
directory=${CARGO_TARGET_DIR:-target}
if [ "${SANITIZER:-address}" = coverage ]; then
    # The images replace `cargo fuzz build` by a plain build here, which would leave out what needs the feature.
    cargo build --manifest-path fuzz/Cargo.toml --bins --features libfuzzer
    binaries=$directory/debug
else
    cargo fuzz build -O --features libfuzzer
    binaries=$directory/x86_64-unknown-linux-gnu/release
fi
for source in fuzz/fuzz_targets/*.rs; do
    target=$(basename "$source" .rs)
    cp "$binaries/$target" "$OUT/"
    zip -qjr "$OUT/${target}_seed_corpus.zip" "fuzz/corpus/$target"
    # As in scripts/fuzz.
    printf '[libfuzzer]\nmax_len = 4096\ntimeout = 10\n' >"$OUT/$target.options"
    case $target in
        request | split | early | differential) cp fuzz/dictionaries/http.dict "$OUT/$target.dict" ;;
        chunked | router) cp "fuzz/dictionaries/$target.dict" "$OUT/$target.dict" ;;
    esac
done
