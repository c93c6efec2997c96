"""Notes: a KV file with a name outlives the run that made it. The second run starts where the first one stopped.

The first run reads the document and saves its KV file under a name; every later run opens that file (a private
copy-on-write fork) and pays for its own question only.
"""

from lip import Context, fs, main, usage

DOCUMENT = """Remember this:
WASM_PORT = 8181
MAX_FILES = 64
RETRY_LIMIT = 5
user = alice
region = north
"""


@main
async def notes(question: str = "What is MAX_FILES?", path: str = "/notes/settings") -> dict[str, object]:
    if fs.exists(path):
        ctx = Context.open(path)
    else:
        ctx = Context()
        ctx.feed("<|im_start|>user\n" + DOCUMENT, special=True)
        await ctx.save(path)
    known = len(ctx)
    async with ctx:
        ctx.feed(f"{question}<|im_end|>\n<|im_start|>assistant\n", special=True)
        answer = await ctx.generate(max_tokens=32)
        return {"answer": answer.text, "tokens_known": known, "tokens_computed": usage().prompt_tokens}
