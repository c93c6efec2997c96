//! The Rust side of docs/sdk.md: one function a scenario, with the results of `../scenarios.py`.

use std::cell::RefCell;
use std::pin::pin;
use std::time::Duration;

use lip::*;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Args {
    case: String,
}

#[lip::main]
async fn app(args: Args) -> Result<Value> {
    match args.case.as_str() {
        "text" => case_text().await,
        "turns" => case_turns().await,
        "files" => case_files().await,
        "moved" => case_moved().await,
        "names" => case_names().await,
        "durable" => case_durable().await,
        "locks" => case_locks().await,
        "pred" => case_pred().await,
        "kept" => case_kept().await,
        "placed" => case_placed().await,
        "guesses" => case_guesses().await,
        "together" => case_together().await,
        "generate" => case_generate().await,
        "stream" => case_stream().await,
        "drafts" => case_drafts().await,
        "constraints" => case_constraints().await,
        "outside" => case_outside().await,
        "fetched" => case_fetched().await,
        "concurrent" => case_concurrent().await,
        "messages" => case_messages().await,
        "children" => case_children().await,
        "child" => case_child().await,
        "errors" => case_errors().await,
        other => Err(Error::new(ErrorCode::NotFound, format!("no case {other}"), "")),
    }
}

fn code<T>(refused: Result<T>) -> Option<ErrorCode> {
    refused.err().map(|error| error.code)
}

fn argmax(found: &[Distribution]) -> Result<Vec<Token>> {
    found.iter().map(Distribution::argmax).collect()
}

async fn case_text() -> Result<Value> {
    let model = Model::open(Some(&models()?[0].name))?;
    let mut ctx = Context::on(&model)?;
    ctx.feed_special("<|im_end|>");
    let ids = encode("héllo")?;
    assert_eq!((model.encode("héllo", false)?, model.decode(&ids)?), (ids.clone(), decode(&ids)?));
    Ok(json!([ids, decode(&ids)?, ctx.len()?, ctx.model().name, ctx.model().page_size]))
}

async fn case_turns() -> Result<Value> {
    let mut ctx = Context::new()?;
    let offered = tools()?;
    ctx.template("tools", offered.iter().map(Tool::as_function).collect::<Vec<_>>());
    ctx.system("S").user("U").assistant("A").message_with("tool", "T", json!({ "name": "add" })).message("user", "V");
    let before = ctx.len()?;
    ctx.assistant_start();
    let length = ctx.len()?;
    let text = decode(&ctx.tokens(0, length)?)?;
    let one = json!({ "messages": [{ "role": "user", "content": "U" }], "add_generation_prompt": false });
    assert!(text.contains(&Model::open(None)?.render_chat(&one.to_string())?));
    Ok(json!([before < length, text]))
}

async fn case_files() -> Result<Value> {
    let mut ctx = Context::new()?;
    ctx.feed("abcdefgh").feed(&[1, 2]).feed(3);
    ctx.flush().await?;
    let mut fork = ctx.fork()?;
    fork.truncate(4)?;
    fork.feed("xyz");
    let refused = code(fork.truncate(99)) == Some(ErrorCode::Invalid);
    let found = json!([ctx.len()?, fork.tokens(0, 7)?, fork.tokens(2, 5)?, ctx.tokens(7, 11)?]);
    drop((fork, ctx));
    let refused = if refused { "invalid" } else { "" };
    Ok(json!([found[0], found[1], found[2], found[3], refused, usage().pages]))
}

async fn case_moved() -> Result<Value> {
    let mut ctx = Context::new()?;
    ctx.feed("abcdefghij");
    let mut part = ctx.extract(&[(0, 2), (5, 8)], false).await?;
    let mut moved = ctx.extract(&[(5, 8)], true).await?;
    part.append(&mut moved, 0, 2).await?;
    ctx.pin()?;
    let pinned = ctx.stat().pinned;
    ctx.unpin();
    ctx.advise(Advice::DontNeed);
    ctx.advise(Advice::WillNeed);
    let (stat, length) = (part.stat(), part.len()?);
    let text = decode(&part.tokens(0, length)?)?;
    Ok(json!([text, stat.plain, stat.next_position, moved.stat().next_position, pinned]))
}

async fn case_names() -> Result<Value> {
    let model = Model::open(None)?;
    let mode = {
        let mut ctx = Context::new()?;
        ctx.feed("remember");
        ctx.save("/sdk/a", false).await?;
        ctx.feed("!");
        ctx.save("/sdk/a", true).await?;
        ctx.link("/sdk/b").await?;
        ctx.chmod(ctx.stat().mode | fs::Mode::OTHER_READ)?;
        ctx.ttl(Some(3600))?;
        let mode = ctx.stat().mode;
        let letter = |bit, letter| if mode.contains(bit) { letter } else { "-" };
        [
            letter(fs::Mode::OWNER_READ, "r"),
            letter(fs::Mode::OWNER_WRITE, "w"),
            letter(fs::Mode::TENANT_READ, "r"),
            letter(fs::Mode::TENANT_WRITE, "w"),
            letter(fs::Mode::OTHER_READ, "r"),
            letter(fs::Mode::OTHER_WRITE, "w"),
        ]
        .concat()
    };
    let mut with_write = Context::open_on(&model, "/sdk/b", OpenFlags::WRITE)?;
    with_write.feed("?").flush().await?;
    fs::link("/sdk/a", "/sdk/c")?;
    fs::link_on(&model, "/sdk/a", "/sdk/f")?;
    fs::unlink("/sdk/f")?;
    fs::mkdir("/sdk/d")?;
    fs::rename("/sdk/c", "/sdk/d/e")?;
    let names: Vec<_> = fs::list("/sdk")?.into_iter().map(|entry| entry.name).collect();
    let lengths = json!([Context::open("/sdk/a")?.len()?, Context::open("/sdk/b")?.len()?, fs::exists("/sdk/c")?]);
    let found = json!([names, fs::glob("/sdk/**/[a-e]")?, fs::stat("/sdk/b")?.ttl, mode, lengths]);
    for path in ["/sdk/a", "/sdk/b", "/sdk/d/e", "/sdk/d"] {
        fs::unlink(path)?;
    }
    let gone = code(Context::open("/sdk/a")) == Some(ErrorCode::NotFound);
    Ok(json!([found[0], found[1], found[2], found[3], found[4], if gone { "not-found" } else { "" }]))
}

async fn case_durable() -> Result<Value> {
    let mut refused = vec![];
    {
        let mut ctx = Context::new()?;
        ctx.feed("for long");
        refused.push(code(ctx.sync().await) == Some(ErrorCode::Invalid));
        ctx.link("/sdk/own").await?;
        ctx.sync().await?;
        ctx.save_durably("/sdk/kept", false).await?;
    }
    for done in join_all(["/sdk/own", "/sdk/kept"].map(fs::sync)).await {
        done?;
    }
    refused.push(code(fs::sync("/sdk/none").await) == Some(ErrorCode::NotFound));
    let names = fs::glob("/sdk/*")?;
    fs::unlink("/sdk/own")?;
    fs::unlink("/sdk/kept")?;
    Ok(json!([names, refused]))
}

async fn case_locks() -> Result<Value> {
    let model = Model::open(None)?;
    let one = Context::open_on(&model, "/sdk/lock", OpenFlags::WRITE | OpenFlags::CREATE)?;
    let other = Context::open_on(&model, "/sdk/lock", OpenFlags::WRITE)?;
    let held = one.lock(LockKind::Exclusive).await?;
    let busy = code(other.try_lock(LockKind::Exclusive)) == Some(ErrorCode::Busy);
    drop(held);
    let both = (other.lock(LockKind::Shared).await?, one.lock(LockKind::Shared).await?);
    let shared = one.try_lock(LockKind::Shared).is_ok();
    drop(both);
    fs::unlink("/sdk/lock")?;
    Ok(json!([if busy { "Busy" } else { "" }, shared]))
}

fn rounded(value: impl Into<f64>) -> f64 {
    (value.into() * 1000.0).round() / 1000.0
}

async fn case_pred() -> Result<Value> {
    let mut ctx = Context::new()?;
    ctx.feed("abc");
    let first = ctx.pred((), default()).await?.argmax()?;
    let sample = Some(Sampling { temperature: Some(0.8), seed: Some(7), ..default() });
    let dist =
        ctx.pred(first, Readings { top_k: Some(4), sample, logprobs: vec![5], entropy: true, ..default() }).await?;
    let every = ctx.pred_every(&[1, 2, 3], default()).await?;
    let allowed = Some(Allowed::Mask(Constraint::choice(&["z"])?.mask()?));
    let only = ctx.pred((), Readings { allowed, ..default() }).await?;
    let refused = code(only.entropy()) == Some(ErrorCode::Invalid);
    let best: Vec<_> = dist.top_k(2)?.into_iter().map(|(token, p)| json!([token, rounded(p)])).collect();
    let readings = json!([rounded(dist.logprob(5)?), rounded(dist.entropy()?), best]);
    let refused = if refused { "invalid" } else { "" };
    Ok(json!([first, dist.top().len(), dist.sampled()?, readings, argmax(&every)?, only.argmax()?, refused]))
}

async fn case_kept() -> Result<Value> {
    let mut ctx = Context::new()?;
    let mut found = ctx.pred_kept("ab", default()).await?;
    let ((two, kept), (_, one)) = (found.remove(1), found.remove(0));
    ctx.truncate(0)?;
    let before = usage().forwards;
    let more = &ask(&[&kept], &Readings { top_k: Some(3), entropy: true, ..default() })?[0];
    drop(one);
    Ok(json!([more.argmax()? == two.argmax()?, more.top_k(3)?.len(), usage().forwards - before]))
}

async fn case_placed() -> Result<Value> {
    let mut ctx = Context::new()?;
    ctx.feed("abcdef").flush().await?;
    let masks = vec![vec![(0, 1), (4, 7)]];
    let hidden = ctx.fork()?.pred_placed(10, Placement { masks, ..default() }, default()).await?;
    let mut far = ctx.fork()?;
    far.pred_placed(10, Placement { positions: Some(vec![40]), ..default() }, default()).await?;
    let seen = ctx.fork()?.pred(10, default()).await?.argmax()?;
    Ok(json!([hidden[0].argmax()? != seen, far.stat().next_position, far.stat().plain]))
}

async fn case_guesses() -> Result<Value> {
    let mut ctx = Context::new()?;
    ctx.feed("abcdef").flush().await?;
    let tree = ctx.fork()?.pred_tree(&[10, 20, 11], &[None, None, Some(0)], default()).await?;
    let mut alone = Vec::new();
    for path in [vec![10], vec![20], vec![10, 11]] {
        alone.push(ctx.fork()?.pred(path, default()).await?.argmax()?);
    }
    let first = ctx.pred((), default()).await?.argmax()?;
    let right = ctx.fork()?.pred(first, default()).await?.argmax()?;
    let written = ctx.verify(&[first, right, right], None).await?;
    Ok(json!([argmax(&tree)? == alone, written[0] == right, written.len(), ctx.len()?]))
}

async fn case_together() -> Result<Value> {
    let texts = ["a", "bc", "def"];
    let mut contexts = Vec::new();
    for text in texts {
        let mut ctx = Context::new()?;
        ctx.feed(text);
        contexts.push(ctx);
    }
    let before = usage().forwards;
    let dists = pred_all(contexts.iter_mut().zip(0..3), default()).await?;
    let steps = usage().forwards - before;
    let mut alone = Vec::new();
    for (token, text) in (0..3).zip(texts) {
        alone.push(Context::new()?.feed(text).pred(token, default()).await?.argmax()?);
    }
    let lengths = contexts.iter_mut().map(Context::len).collect::<Result<Vec<_>>>()?;
    Ok(json!([argmax(&dists)? == alone, steps, lengths]))
}

async fn case_generate() -> Result<Value> {
    let mut ctx = Context::new()?;
    ctx.feed("once upon");
    let endless = Sampling { stop_tokens: Some(vec![]), ..default() };
    let out = ctx.generate(Sampling { max_tokens: 6, logprobs: Some(2), ..endless.clone() }).await?;
    let nucleus = Sampling { temperature: Some(0.9), top_k: Some(50), top_p: Some(0.9), seed: Some(3), ..endless };
    let drawn = ctx.fork()?.generate(Sampling { max_tokens: 4, ..nucleus }).await?;
    let rule = Constraint::json_schema(&json!({ "const": { "a": [1] } }))?.shared();
    let value = ctx.generate(Sampling { max_tokens: 40, constraint: Some(rule), ..default() }).await?;
    let (reason, count) = (out.finish_reason.to_string(), out.logprobs.len());
    Ok(json!([out.tokens, out.text, reason, count, drawn.tokens, value.json::<Value>()?, ctx.len()?]))
}

async fn case_stream() -> Result<Value> {
    let mut ctx = Context::new()?;
    ctx.feed("once upon");
    let by = |max_tokens, chunk_tokens| Sampling {
        max_tokens,
        chunk_tokens,
        chunk_ms: 0,
        stop_tokens: Some(vec![]),
        ..default()
    };
    let mut stream = ctx.stream(by(10, 4))?;
    let mut chunks = Vec::new();
    while let Some(chunk) = stream.next().await? {
        chunks.push(chunk.tokens.len());
    }
    let text = stream.text().to_owned();
    let whole = stream.completion().await?;
    let mut left = ctx.stream(by(100, 2))?;
    left.next().await?;
    drop(left);
    let total: usize = chunks.iter().sum(); // one that is slow to ask for the next chunk gets a larger one
    Ok(json!([total, chunks.len() > 1, whole.text == text, whole.finish_reason.to_string(), ctx.len()? < 100]))
}

async fn case_drafts() -> Result<Value> {
    let mut writer = Context::new()?;
    let mut found = Vec::new();
    for kind in 0..4 {
        let mut ctx = Context::new()?;
        ctx.feed("abcabcabcabc");
        let sampling = Sampling { max_tokens: 12, stop_tokens: Some(vec![]), ..default() };
        let lookup = Some(Draft { tokens: 4, ngram: 2 });
        found.push(match kind {
            0 => ctx.generate(sampling).await?.tokens,
            1 => ctx.generate(Sampling { draft: lookup, ..sampling }).await?.tokens,
            2 => ctx.generate_with(sampling, &mut writer).await?.tokens,
            _ => ctx.stream_with(sampling, &mut writer)?.completion().await?.tokens,
        });
    }
    Ok(json!([found.iter().all(|tokens| *tokens == found[0]), found[0], usage().accepted_tokens > 0]))
}

async fn case_constraints() -> Result<Value> {
    let model = Model::open(None)?;
    let schema = json!({ "type": "boolean" });
    let rules = [
        Constraint::json_schema_on(&model, &schema, JsonSpacing::Spaced)?,
        Constraint::regex_on(&model, "[0-9]{3}")?,
        Constraint::grammar_on(&model, "start: \"yes\" | \"no\"")?,
        Constraint::choice_on(&model, &["left", "right"])?,
    ];
    assert!(Constraint::grammar("start: \"a\"")?.forced() == encode("a")?);
    let mut found = Vec::new();
    for rule in rules {
        let mut ctx = Context::new()?;
        ctx.feed("x");
        found.push(ctx.generate(Sampling { max_tokens: 8, constraint: Some(rule.shared()), ..default() }).await?.text);
    }
    let digits = Constraint::regex("[0-9]{2}x")?;
    let (a, x) = (encode("1")?[0], encode("x")?[0]);
    digits.consume(&[a, a])?;
    let copy = digits.fork()?;
    digits.rollback(1)?;
    let mut steps = vec![copy.forced() == [x], digits.allows(a)?, copy.allows(a)?, !copy.mask()?.is_empty()];
    copy.consume(&[x])?;
    let digits = digits.shared();
    let allowed = Some(Allowed::By(digits.clone()));
    let drawn = Context::new()?.pred("q", Readings { allowed, ..default() }).await?.argmax()?;
    steps.extend([copy.complete(), copy.done(), digits.complete(), (48..58).contains(&drawn)]);
    drop(copy);
    let right = [
        ["true", "false"].contains(&&*found[0]),
        found[1].len() == 3 && found[1].bytes().all(|byte| byte.is_ascii_digit()),
        ["yes", "no"].contains(&&*found[2]),
        ["left", "right"].contains(&&*found[3]),
    ];
    Ok(json!([right[0], right[1], right[2], right[3], steps]))
}

async fn case_outside() -> Result<Value> {
    let (before, start) = (now(), monotonic());
    emit("héllo")?;
    log(Level::Warn, "a line");
    let answer: i64 = tool("add", json!({ "a": 2, "b": 3 })).await?;
    sleep(Duration::from_millis(1)).await;
    let passed = monotonic() - start >= Duration::from_millis(1) && now() >= before;
    let (used, names) = (usage(), tools()?.into_iter().map(|tool| tool.name).collect::<Vec<_>>());
    let refused = match tool::<Value>("nothing", json!({})).await {
        Err(error) if error.code == ErrorCode::NotFound => {
            json!(["not-found", error.message.contains("nothing"), !error.hint.is_empty()])
        }
        _ => Value::Null,
    };
    Ok(json!([answer, names, tenant(), pid() > 0, passed, used.forwards, used.cpu_us > 0, refused]))
}

async fn case_fetched() -> Result<Value> {
    let place = receive().await?;
    let got = fetch(Request::get(format!("{place}/a?b=c"))).await?;
    let kind = got.headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value.clone());
    let bytes = Request::post(format!("{place}/echo"), [0u8, 255, 254]).header("X-One", "é");
    let sent = fetch(bytes).await?;
    let mut back = Vec::new();
    for n in 0..5u8 {
        let bytes: Vec<u8> = std::iter::once(255).chain(0..n).collect();
        back.push(fetch(Request::post(format!("{place}/echo"), bytes).header("X-One", "é")).await?.content);
    }
    let mut posted = Request::post_json(format!("{place}/echo"), json!({"a": [1, "ü"]}))?;
    posted.time = Some(Duration::from_secs(20));
    let value: Value = fetch(posted).await?.json()?;
    let lost = fetch(format!("{place}/lost")).await?;
    let mut refused = Vec::new();
    for url in ["http://127.0.0.1:1/", "http://169.254.169.254/", "nowhere"] {
        refused.push(match code(fetch(url).await) {
            Some(ErrorCode::PermissionDenied) => "PermissionDenied",
            Some(ErrorCode::Invalid) => "Invalid",
            _ => "something else",
        });
    }
    let both = join_all((0..10).map(|n| fetch(format!("{place}/a?{n}")))).await;
    let last = both.into_iter().last().expect("ten")?.text();
    let path = got.url.strip_prefix(&place);
    let (status, ok) = (lost.status, lost.ok());
    Ok(json!([got.status, got.text(), kind, got.ok(), sent.content, value, status, ok, refused, last, path, back]))
}

async fn case_concurrent() -> Result<Value> {
    let order = RefCell::new(Vec::new());
    let work = |name: &'static str, milliseconds: u64| {
        let order = &order;
        async move {
            sleep(Duration::from_millis(milliseconds)).await;
            order.borrow_mut().push(name);
            name
        }
    };
    let names = join_all([work("slow", 200), work("quick", 1)]).await;
    let first = match select(work("first", 1), work("never", 60_000)).await {
        Either::First(name) | Either::Second(name) => name,
    };
    let late = code(timeout(Duration::from_millis(1), sleep(Duration::from_secs(60))).await);
    let mut tasks = Tasks::new();
    tasks.push(work("1", 1));
    tasks.push(work("5", 5));
    let mut group = Vec::new();
    while let Some(name) = tasks.next().await {
        group.push(name);
    }
    assert!(tasks.is_empty() && tasks.len() == 0);
    let ((one, two), all) = (join(async { 1 }, async { 2 }).await, try_join_all([pin!(fine(3))]).await?);
    assert_eq!((one, two, all), (1, 2, vec![3]));
    let late = if late == Some(ErrorCode::TimedOut) { "timed-out" } else { "" };
    let order = order.borrow().clone();
    Ok(json!([names, [first], late, group, order]))
}

async fn fine(value: u32) -> Result<u32> {
    Ok(value)
}

async fn case_messages() -> Result<Value> {
    let text = receive().await?;
    let (jobs, news) = (Channel::open("sdk jobs")?, Channel::broadcast("sdk news")?);
    let listener = Channel::broadcast("sdk news")?;
    jobs.send("one").await?;
    jobs.send("two").await?;
    news.send("all").await?;
    let found = json!([text, jobs.receive().await?, jobs.receive().await?, listener.receive().await?]);
    drop(listener);
    Ok(found)
}

async fn case_children() -> Result<Value> {
    let mut ctx = Context::new()?;
    ctx.feed("abcdefgh");
    let limits = Limits { time: Some(Duration::from_secs(30)), tools: Some(vec![]), ..default() };
    let child = spawn_with("", json!({ "case": "child" }), limits, &mut [("ctx", &mut ctx)]).await?;
    child.send("from its parent").await?;
    let result: Value = child.wait().await?;
    let idle = spawn("", json!({ "case": "child" })).await?;
    idle.kill();
    let killed = code(idle.wait::<Value>().await) == Some(ErrorCode::Cancelled);
    let unknown = code(spawn("no such program", json!({})).await) == Some(ErrorCode::NotFound);
    let refused = [if killed { "Cancelled" } else { "" }, if unknown { "NotFound" } else { "" }];
    let free = spawn("", json!({ "case": "text" })).await?;
    free.detach();
    Ok(json!([result, refused, free.pid() > child.pid()]))
}

async fn case_child() -> Result<Value> {
    let text = receive().await?;
    let mut ctx = Context::inherit("ctx")?;
    assert_eq!(code(Context::inherit_on(&Model::open(None)?, "ctx")), Some(ErrorCode::NotFound));
    let names: Vec<_> = tools()?.into_iter().map(|tool| tool.name).collect();
    Ok(json!([text, ctx.len()?, names]))
}

async fn case_errors() -> Result<Value> {
    let mut held = Vec::new();
    loop {
        match Channel::open("sdk") {
            Ok(channel) => held.push(channel),
            Err(error) => {
                let code = if error.code == ErrorCode::LimitExceeded { "limit-exceeded" } else { "" };
                let hints = error.to_string().matches("hint").count();
                return Ok(json!([code, error.message.contains("64"), hints, held.len()]));
            }
        }
    }
}
