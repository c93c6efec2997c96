//! What the tests of the Rust SDK run: one case of it each, named by the argument `case`.

use std::cell::Cell;
use std::time::Duration;

use lip::{
    ask, decode, default, emit, encode, fs, join, join_all, json, log, models, monotonic, now, pred_all, receive,
    select, sleep, spawn, spawn_with, timeout, tool, tools, try_join_all, usage, Advice, Allowed, Channel, Constraint,
    Context, Draft, Either, Error, ErrorCode, FinishReason, Level, Limits, LockKind, Model, OpenFlags, Placement,
    Readings, Result, Sampling, Tasks, Value,
};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Args {
    case: String,
}

#[lip::main]
async fn probe(args: Args) -> Result<Value> {
    match args.case.as_str() {
        "text" => text(),
        "kv" => kv().await,
        "names" => names().await,
        "shared" => shared().await,
        "moved" => moved().await,
        "pred" => pred().await,
        "drafts" => drafts().await,
        "parts" => parts().await,
        "constraint" => constraint().await,
        "stream" => stream().await,
        "conversation" => conversation().await,
        "together" => together().await,
        "first" => first().await,
        "timeout" => late().await,
        "tools" => call_tools().await,
        "channels" => channels().await,
        "parent" => parent().await,
        "child" => child().await,
        "refused" => Context::open("/no/such/file").map(|_| Value::Null),
        "deferred" => deferred().await,
        "panic" => panic!("the {} broke", "probe"),
        "broken branch" => {
            let branch = |i: usize| async move {
                sleep(Duration::from_millis(1)).await;
                [1, 2][i]
            };
            Ok(json!(join_all((1..4).map(branch)).await))
        }
        "deadlock" => {
            std::future::pending::<()>().await;
            Ok(Value::Null)
        }
        other => Err(lip::Error::new(ErrorCode::NotFound, format!("no case {other}"), "read the probe")),
    }
}

/// A queue, a broadcast, and who gives up waiting.
async fn channels() -> Result<Value> {
    let (jobs, news, other) = (Channel::open("jobs")?, Channel::broadcast("news")?, Channel::broadcast("news")?);
    let given_up = timeout(Duration::from_millis(1), jobs.receive()).await.err().map(|error| error.code);
    let (first, second) = (jobs.receive(), jobs.receive());
    let send = async {
        jobs.send("1").await?;
        jobs.send("2").await?;
        news.send("headline").await?;
        Ok(String::new())
    };
    let futures: [std::pin::Pin<Box<dyn std::future::Future<Output = Result<String>>>>; 3] =
        [Box::pin(first), Box::pin(second), Box::pin(send)];
    let texts = join_all(futures).await.into_iter().collect::<Result<Vec<_>>>()?;
    let wrong = Channel::open("news").err().map(|error| error.message);
    let echo = timeout(Duration::from_millis(1), news.receive()).await.is_err();
    Ok(json!({ "texts": texts, "news": other.receive().await?, "echo": !echo, "wrong": wrong,
               "given_up": given_up == Some(ErrorCode::TimedOut) }))
}

/// Starts this very program again, with a context and a message.
async fn parent() -> Result<Value> {
    let mut ctx = Context::new()?;
    ctx.feed("abcdefgh");
    let limits = Limits { tools: Some(vec!["add".into()]), time: Some(Duration::from_secs(30)), ..default() };
    let started = spawn_with("", json!({ "case": "child" }), limits, &mut [("ctx", &mut ctx)]).await?;
    started.send("hello").await?;
    let result: Value = started.wait().await?;
    let idle = spawn("", json!({ "case": "child" })).await?;
    idle.kill();
    let killed = idle.wait::<Value>().await.err().map(|error| error.code == ErrorCode::Cancelled);
    let failed = spawn("", json!({ "case": "nothing" })).await?.wait::<Value>().await.err().map(|error| error.message);
    let gone = started.send("late").await.err().map(|error| error.code == ErrorCode::NotFound);
    let unknown = spawn("no such program", json!({})).await.err().map(|error| error.code == ErrorCode::NotFound);
    Ok(json!({ "result": result, "again": started.wait::<Value>().await? == result, "killed": killed, "failed": failed,
               "gone": gone, "unknown": unknown }))
}

async fn child() -> Result<Value> {
    let text = receive().await?;
    let mut ctx = Context::inherit("ctx")?;
    let tools: Vec<String> = tools()?.into_iter().map(|tool| tool.name).collect();
    Ok(json!({ "text": text, "length": ctx.len()?, "tools": tools, "twice": Context::inherit("ctx").is_err() }))
}

/// The same text with and without drafts, and how many forwards each took.
async fn drafts() -> Result<Value> {
    let mut writer = Context::new()?;
    let mut found = Vec::new();
    for kind in ["plain", "lookup", "model", "verify"] {
        let mut ctx = Context::new()?;
        ctx.feed("abc");
        let before = usage().forwards;
        let sampling = Sampling { max_tokens: 24, stop_tokens: Some(vec![]), ..default() };
        let tokens = match kind {
            "lookup" => ctx.generate(Sampling { draft: Some(Draft::default()), ..sampling }).await?.tokens,
            "model" => ctx.generate_with(sampling, &mut writer).await?.tokens,
            "verify" => {
                let mut new = vec![ctx.pred((), default()).await?.argmax()?];
                let mut tokens = new.clone();
                while tokens.len() < 24 {
                    new = ctx.verify(&[new[new.len() - 1], 5, 6], None).await?;
                    tokens.extend(&new);
                }
                tokens.truncate(24);
                tokens
            }
            _ => ctx.generate(sampling).await?.tokens,
        };
        found.push(json!([tokens, usage().forwards - before]));
    }
    Ok(json!({ "runs": found, "held": writer.len()?, "accepted": usage().accepted_tokens }))
}

/// Several contexts, a tree, a mask: in one step each; beside what forks say.
async fn parts() -> Result<Value> {
    let mut ctx = Context::new()?;
    ctx.feed("abcdef").flush().await?;
    let mut alone = Vec::new();
    for path in [&[10][..], &[20], &[10, 11]] {
        alone.push(ctx.fork()?.pred(path, default()).await?.argmax()?);
    }
    let (mut one, mut other) = (ctx.fork()?, ctx.fork()?);
    let before = usage().forwards;
    let both = pred_all([(&mut one, 10), (&mut other, 20)], default()).await?;
    let tree = ctx.fork()?.pred_tree(&[10, 20, 11], &[None, None, Some(0)], default()).await?;
    let steps = usage().forwards - before;
    let masks = vec![vec![(0, 1), (4, 7)]];
    let hidden = ctx.fork()?.pred_placed(&[10][..], Placement { masks, positions: None }, default()).await?;
    let far = Placement { positions: Some(vec![40]), ..default() };
    let mut moved = ctx.fork()?;
    moved.pred_placed(&[10][..], far, default()).await?;
    let wrong = Placement { masks: vec![vec![(0, 9)]], ..default() };
    let refused = ctx.fork()?.pred_placed(&[10][..], wrong, default()).await.err().map(|error| error.message);
    let mut kept = ctx.fork()?.pred_kept(&[10, 11][..], default()).await?;
    let (dist, row) = kept.remove(1);
    let more = ask(&[&kept[0].1, &row], &Readings { top_k: Some(3), ..default() })?;
    let asked = (more[1].argmax()? == dist.argmax()?, more[0].top_k(3)?.len());
    let argmax = |found: &[lip::Distribution]| found.iter().map(|one| one.argmax()).collect::<Result<Vec<_>>>();
    Ok(json!({
        "alone": alone, "both": argmax(&both)?, "tree": argmax(&tree)?, "steps": steps, "hidden": argmax(&hidden)?,
        "asked": asked,
        "moved": [moved.stat().next_position, moved.stat().plain], "refused": refused, "lengths": [one.len()?, other.len()?],
    }))
}

fn text() -> Result<Value> {
    let model = Model::open(None)?;
    let special = model.encode("<|im_end|>", true)?;
    let raw = encode("<|im_end|>")?;
    log(Level::Warn, format_args!("{} tokens", raw.len()));
    emit(decode(&encode("héllo")?)?)?;
    Ok(
        json!({ "special": special.len(), "raw": raw.len(), "models": models()?[0].name, "stop": model.info.stop_tokens }),
    )
}

async fn kv() -> Result<Value> {
    let mut ctx = Context::new()?;
    ctx.feed("abc").feed(100).feed(vec![101]).feed(());
    let buffered = ctx.len()?;
    ctx.flush().await?;
    let mut fork = ctx.fork()?;
    fork.feed("xyz");
    fork.truncate(6)?;
    ctx.truncate(2)?;
    let outside = ctx.tokens(0, 3).err().map(|error| error.code == ErrorCode::Invalid);
    Ok(json!([buffered, ctx.tokens(0, 2)?, fork.tokens(0, 6)?, fork.stat().length, outside]))
}

async fn names() -> Result<Value> {
    let mut ctx = Context::new()?;
    ctx.feed("kept");
    ctx.save("/notes/a", false).await?;
    let again = ctx.save("/notes/a", false).await.err().map(|error| error.code == ErrorCode::Exists);
    fs::rename("/notes/a", "/notes/b")?;
    let mut fork = Context::open("/notes/b")?;
    fork.feed("!").flush().await?;
    let mut edit = Context::open_on(&Model::open(None)?, "/notes/b", OpenFlags::WRITE)?;
    edit.feed("?").flush().await?;
    let listed: Vec<String> = fs::list("/notes")?.into_iter().map(|entry| entry.name).collect();
    let length = fs::stat("/notes/b")?.length;
    fs::link("/notes/b", "/notes/c")?;
    let twice = fs::stat("/notes/c")?.names;
    fs::unlink("/notes/b")?;
    fs::unlink("/notes/c")?;
    Ok(json!([again, twice, listed, length, fork.len()?, fs::exists("/notes/b")?]))
}

/// By hand and by the host; masks, places and mistakes.
async fn constraint() -> Result<Value> {
    let schema = json!({ "type": "object", "properties": { "a": { "enum": ["x", "yz"] } }, "required": ["a"],
        "additionalProperties": false });
    let rule = Constraint::json_schema(&schema)?.shared();
    let mut ctx = Context::new()?;
    ctx.feed("go: ");
    let sampling = Sampling { max_tokens: 30, constraint: Some(rule.clone()), ..default() };
    let whole = ctx.fork()?.generate(sampling).await?;
    let mut tokens = Vec::new();
    while !rule.done() {
        let mut new = rule.forced();
        if new.is_empty() {
            let readings = Readings { top_k: Some(1), allowed: Some(Allowed::By(rule.clone())), ..default() };
            new = vec![ctx.pred((), readings).await?.argmax()?];
        }
        rule.consume(&new)?;
        ctx.feed(&new);
        tokens.extend(new);
    }
    let fork = rule.fork()?;
    fork.rollback(tokens.len() as u32)?;
    let words = Constraint::choice(&["b", "c"])?.mask()?;
    let masked = Readings { top_k: Some(9), allowed: Some(Allowed::Mask(words)), ..default() };
    let few: Vec<_> = ctx.pred((), masked).await?.top_k(2)?.into_iter().map(|(token, _)| token).collect();
    let errors = [Constraint::regex("(").err(), Constraint::grammar("start: foo").err(), rule.consume(&[0]).err()];
    Ok(json!({
        "same": whole.text == decode(&tokens)?,
        "text": whole.text,
        "end": matches!(whole.finish_reason, FinishReason::Constraint) && whole.finish_reason.to_string() == "constraint",
        "json": whole.json::<Value>()?["a"].as_str().map(str::len),
        "allows": [fork.allows(u32::from(b'{'))?, fork.allows(u32::from(b'x'))?, fork.allows(u32::MAX)?],
        "places": [rule.complete(), fork.complete(), fork.forced().is_empty()],
        "few": few.len() == 2 && few.contains(&98) && few.contains(&99),
        "errors": errors.into_iter().map(|e| e.map(|e| e.code == ErrorCode::Invalid)).collect::<Vec<_>>(),
    }))
}

/// One file under two names, its mode and its time to live, and who gets its lock in which order.
async fn shared() -> Result<Value> {
    let mut ctx = Context::new()?;
    ctx.feed("ours");
    ctx.link("/d/a").await?;
    ctx.link("/d/b").await?;
    fs::mkdir("/empty")?;
    ctx.chmod(fs::Mode::OWNER_READ | fs::Mode::OWNER_WRITE)?;
    ctx.ttl(Some(60))?;
    let stat = ctx.stat();
    let held = ctx.lock(LockKind::Shared).await?;
    let refused = ctx.lock(LockKind::Exclusive).await.err().map(|error| error.code == ErrorCode::Busy);
    let beside = ctx.try_lock(LockKind::Shared)?;
    drop(held);
    drop(beside);
    let alone = ctx.try_lock(LockKind::Exclusive)?;
    let barred = ctx.try_lock(LockKind::Shared).err().map(|error| error.code == ErrorCode::Busy);
    drop(alone);
    fs::rename("/d", "/e")?;
    let found = fs::glob("/**")?;
    for path in &found {
        fs::unlink(path)?;
    }
    fs::unlink("/empty")?;
    let mode = stat.mode == fs::Mode::OWNER_READ | fs::Mode::OWNER_WRITE;
    Ok(json!([stat.names, stat.ttl, mode, stat.tier == fs::Tier::Device, refused, barred, found]))
}

/// Entries with the keys and values that they have, in another file.
async fn moved() -> Result<Value> {
    let mut ctx = Context::new()?;
    ctx.feed("abcdefgh");
    let mut part = ctx.extract(&[(0, 2), (5, 8)], true).await?;
    let mut other = Context::new()?;
    other.feed("xy");
    part.append(&mut other, 0, 2).await?;
    part.pin()?;
    let pinned = part.stat().pinned;
    part.unpin();
    part.advise(Advice::DontNeed);
    part.advise(Advice::WillNeed);
    let backwards = ctx.extract(&[(3, 5), (0, 2)], false).await.err().map(|error| error.code == ErrorCode::Invalid);
    Ok(json!([decode(&part.tokens(0, 7)?)?, part.stat().plain, pinned, part.stat().pinned, backwards]))
}

async fn pred() -> Result<Value> {
    let mut ctx = Context::new()?;
    ctx.feed("He");
    let some = ctx.pred("llo", Readings { top_k: Some(3), entropy: true, ..default() }).await?;
    let length = ctx.len()?;
    let best = some.argmax()?;
    let same = ctx.pred((), Readings { logprobs: vec![best], sample: Some(default()), ..default() }).await?;
    let every = ctx.pred_every("ab", default()).await?;
    let unread = some.sampled().err().map(|error| error.to_string());
    Ok(json!({
        "length": length,
        "same": same.sampled()? == best && (same.logprob(best)? - some.logprob(best)?).abs() < 1e-6,
        "top": some.top_k(3)?.len(),
        "descending": some.top_k(2)?[0].1 >= some.top_k(2)?[1].1,
        "entropy": some.entropy()? > 0.0,
        "every": every.len(),
        "unread": unread,
        "after": ctx.len()?,
    }))
}

async fn stream() -> Result<Value> {
    let mut ctx = Context::new()?;
    ctx.feed("Once");
    let sampling = Sampling { max_tokens: 40, stop_tokens: Some(vec![]), chunk_tokens: 4, chunk_ms: 0, ..default() };
    let mut stream = ctx.stream(sampling.clone())?;
    let mut left = Vec::new();
    while left.len() < 8 {
        left.extend(stream.next().await?.map_or_else(Vec::new, |chunk| chunk.tokens));
    }
    drop(stream);
    let delivered = ctx.len()? as usize == 4 + left.len();
    ctx.truncate(4)?;
    let whole = ctx.generate(Sampling { logprobs: Some(2), ..sampling }).await?;
    let ended = matches!(whole.finish_reason, FinishReason::Length);
    Ok(json!([
        delivered,
        whole.tokens.starts_with(&left),
        whole.tokens.len(),
        ended,
        whole.logprobs.len(),
        whole.alternatives.len()
    ]))
}

/// The same as `conversation.py`, token by token.
async fn conversation() -> Result<Value> {
    let mut ctx = Context::new()?;
    ctx.system("Be brief.").user("Who are you?");
    let short = Sampling { max_tokens: 12, ..default() };
    ctx.generate(short.clone()).await?;
    ctx.user("And now?").assistant("Well.").user("Go on.").feed("I ");
    ctx.generate(short).await?;
    let mut saved = ctx.fork()?;
    saved.save("/conversation", true).await?;
    let mut later = Context::open("/conversation")?;
    later.user("Still there?").flush().await?;
    let (length, other) = (ctx.len()?, later.len()?);
    let mut agent = Context::new()?;
    let offers: Vec<_> = tools()?;
    agent.template("tools", offers.iter().map(lip::Tool::as_function).collect::<Vec<_>>()).user("1 + 2?");
    agent.message_with("assistant", "", json!({ "tool_calls": [] })).message("tool", "3").assistant_start();
    agent.feed_special("So:<|im_end|>").feed("<|im_end|>");
    let last = agent.len()?;
    Ok(json!([ctx.tokens(0, length)?, later.tokens(0, other)?, agent.tokens(0, last)?]))
}

async fn together() -> Result<Value> {
    let start = monotonic();
    let order = Cell::new(String::new());
    let wait = |name: &'static str, milliseconds| {
        let order = &order;
        async move {
            sleep(Duration::from_millis(milliseconds)).await;
            order.set(order.take() + name);
            name
        }
    };
    let names = join_all([wait("c", 90), wait("a", 30), wait("b", 60)]).await;
    let none = join_all(Vec::<std::future::Ready<()>>::new()).await.len();
    let overlapped = monotonic() - start < Duration::from_millis(180);
    Ok(json!([names, order.take(), overlapped, none]))
}

/// Whoever comes first; the others go on, or are dropped and what they have in flight is cancelled.
async fn first() -> Result<Value> {
    let wait = |name: &'static str, milliseconds| async move {
        sleep(Duration::from_millis(milliseconds)).await;
        name
    };
    let mut slow = std::pin::pin!(wait("slow", 60));
    let quick = select(&mut slow, wait("quick", 5)).await == Either::Second("quick");
    let late = timeout(Duration::from_millis(5), &mut slow).await.is_err();
    let slow = slow.await;
    let mut tasks = Tasks::new();
    tasks.push(wait("c", 60));
    tasks.push(wait("a", 5));
    let mut came = vec![tasks.next().await];
    tasks.push(wait("b", 5));
    came.push(tasks.next().await);
    let left = tasks.len();
    came.extend([tasks.next().await, tasks.next().await]);
    let both = join(wait("x", 5), async { 1 }).await;

    let (mut ctx, mut other) = (Context::new()?, Context::new()?);
    let endless =
        || Sampling { max_tokens: 4000, stop_tokens: Some(vec![]), chunk_tokens: 1, chunk_ms: 0, ..default() };
    ctx.feed("Once");
    let mut stream = ctx.stream(endless())?;
    let mut call = std::pin::pin!(tool::<i64>("add", json!({ "a": 1, "b": 2 })));
    let sum = loop {
        match select(stream.next(), &mut call).await {
            Either::First(chunk) => drop(chunk?),
            Either::Second(sum) => break sum?,
        }
    };
    let more = stream.next().await?.is_some();
    drop(stream);
    let kept = ctx.len()? > 4;
    let fails = |ok: bool| async move {
        sleep(Duration::from_millis(5)).await;
        if ok {
            Ok(1)
        } else {
            Err(Error::new(ErrorCode::Busy, "no", ""))
        }
    };
    let all = try_join_all([fails(true), fails(true)]).await?;
    other.feed("More");
    let writing = async { other.generate(endless()).await.map(|_| 0) };
    let failing = async { fails(false).await };
    let futures: [std::pin::Pin<Box<dyn std::future::Future<Output = Result<i32>>>>; 2] =
        [Box::pin(writing), Box::pin(failing)];
    let refused = try_join_all(futures).await.err().map(|error| error.code == ErrorCode::Busy);
    let usable = other.pred("x", default()).await.is_ok();
    Ok(json!({
        "raced": [quick, late, slow == "slow"],
        "came": came,
        "left": left,
        "both": both,
        "sum": sum,
        "kept": more && kept,
        "all": all,
        "refused": refused,
        "usable": usable,
        "day": now().as_secs() > 1_700_000_000,
    }))
}

async fn late() -> Result<Value> {
    let mut ctx = Context::new()?;
    ctx.feed("Once");
    let endless = Sampling { max_tokens: 4000, stop_tokens: Some(vec![]), ..default() };
    let late = timeout(Duration::from_millis(20), ctx.generate(endless)).await;
    let code = late.err().map(|error| error.code == ErrorCode::TimedOut);
    let done = timeout(Duration::from_secs(60), ctx.pred("x", default())).await?.is_ok();
    Ok(json!([code, done, usage().forwards > 0]))
}

async fn call_tools() -> Result<Value> {
    let names: Vec<String> = tools()?.into_iter().map(|tool| tool.name).collect();
    let sums = join_all((1..4).map(|i| tool::<i64>("add", json!({ "a": i, "b": 10 })))).await;
    let sums: Vec<i64> = sums.into_iter().collect::<Result<_>>()?;
    let unknown = tool::<Value>("subtract", json!({})).await.err().map(|error| error.code == ErrorCode::NotFound);
    let failed = tool::<Value>("fail", json!({})).await.err().map(|error| error.to_string());
    Ok(json!([names, sums, unknown, failed]))
}

async fn deferred() -> Result<Value> {
    let mut ctx = Context::new()?;
    ctx.feed(vec![u32::MAX]).feed("more");
    let refused = ctx.flush().await.err().map(|error| error.code == ErrorCode::Invalid);
    ctx.truncate(0)?;
    ctx.feed("fine").flush().await?;
    Ok(json!([refused, ctx.len()?]))
}
