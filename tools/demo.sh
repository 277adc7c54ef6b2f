#!/bin/sh
# The whole chain on drawn images, in the folder demo/: every command is shown before it runs.
# `make demo` sets up and runs this.
set -eu
cd "$(dirname "$0")/.."
rm -rf demo
start=$(date +%s)

run() {
    printf '\n$ munit-edge %s\n' "$*" >&2
    munit-edge "$@"
}

run sample-data demo/data --size 32
run train --recipe demo --data demo/data -o demo/run
run export onnx demo/run -o demo/model
# The paths of the 800 results are of no interest here; the summary comes on standard error.
run translate demo/model demo/data/testA -o demo/pictures --direction a2b --styles 8 --grid >/dev/null

seconds=$(($(date +%s) - start))
printf '\nDone in %d min %02d s. Left: outlines. Right: each of them in eight styles. Look at\n%s\n' \
    $((seconds / 60)) $((seconds % 60)) "$(pwd)/demo/pictures/contact_sheet.png"
