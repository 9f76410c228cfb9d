#!/bin/bash -eu
# Leaves each target with its seeds and its dictionary in $OUT, under the names that libFuzzer's runners look for.
export CARGO_PROFILE_RELEASE_LTO=false
cargo fuzz build -O --features libfuzzer
for source in fuzz/fuzz_targets/*.rs; do
    target=$(basename "$source" .rs)
    cp "target/x86_64-unknown-linux-gnu/release/$target" "$OUT/"
    zip -qj "$OUT/${target}_seed_corpus.zip" "fuzz/corpus/$target"/*
    case $target in
        request | split | early | differential) cp fuzz/dictionaries/http.dict "$OUT/$target.dict" ;;
        chunked | router) cp "fuzz/dictionaries/$target.dict" "$OUT/$target.dict" ;;
    esac
done
