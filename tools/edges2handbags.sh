#!/bin/sh
# The whole chain at 256 x 256 with the paper's sizes, on real photos: a few iterations of training,
# resumed once; export; translations with random styles and with the style of reference photos.
# It shows that everything works at full size, not what a trained model looks like.
#
#   sh tools/edges2handbags.sh DATA [ITERATIONS]
#
# DATA holds trainA, trainB, testA and testB. Time and peak memory of every step are printed.
set -eu
data=$1
half=${2:-2}
out=${OUT:-runs/edges2handbags}
[ -d "$data/trainA" ] || {
    echo "error: $data/trainA does not exist: name a folder with trainA, trainB, testA, testB" >&2
    exit 2
}

measured() {
    python "$(dirname "$0")/measured.py" munit-edge "$@"
}

rm -rf "$out"
measured train --recipe paper --data "$data" -o "$out/run" --set iterations="$half"
measured train --recipe paper --data "$data" -o "$out/run" --set iterations=$((2 * half)) --resume
measured export onnx "$out/run" -o "$out/model"
measured translate "$out/model" "$data/testA" -o "$out/random" --direction a2b --styles 4 --grid
set -- $(find "$data/testB" -type f | sort | head -n 2)
measured translate "$out/model" "$data/testA" -o "$out/guided" --direction a2b \
    --style-image "$1" --style-image "$2" --grid
printf '\nLook at %s\n' "$out/random" "$out/guided"
