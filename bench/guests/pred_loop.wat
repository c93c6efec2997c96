;; A LIP that chooses every token itself: pred with a greedy sample as its reading, poll on the file's `idle`, get.
;; Three host calls and two handle drops a token (the prediction). `args` is the number of tokens, in decimal digits,
;; whatever stands around them (`{"n": 5}`);
;; the answer is the last token. For benchmarks and tests: the same calls as an SDK's loop, with no guest code to speak of.
(component
  (import "wasi:io/poll@0.2.6" (instance $poll
    (export "pollable" (type $pollable (sub resource)))
    (export "poll" (func (param "in" (list (borrow $pollable))) (result (list u32))))))
  (alias export $poll "pollable" (type $pollable))

  (import "symphony:lip/types@0.1.0" (instance $types
    (type $code' (enum "not-found" "exists" "permission-denied" "no-space" "busy" "limit-exceeded" "timed-out"
      "cancelled" "invalid" "unavailable" "internal"))
    (export "error-code" (type $code (eq $code')))
    (type $error' (record (field "code" $code) (field "message" string) (field "hint" string)))
    (export "error" (type (eq $error')))
    (type $ranked' (record (field "ids" (list u32)) (field "values" (list f32))))
    (export "ranked" (type (eq $ranked')))))
  (alias export $types "error" (type $error))
  (alias export $types "ranked" (type $ranked))

  (import "symphony:lip/model@0.1.0" (instance $model
    (export "error" (type $e (eq $error)))
    (export "model" (type $m (sub resource)))
    (export "[static]model.open" (func (param "name" (option string)) (result (result (own $m) (error $e)))))))
  (alias export $model "model" (type $model-type))

  (import "symphony:lip/kvfs@0.1.0" (instance $kvfs
    (export "error" (type $e (eq $error)))
    (export "model" (type $m (eq $model-type)))
    (export "pollable" (type $p (eq $pollable)))
    (export "kv-file" (type $f (sub resource)))
    (export "[static]kv-file.create" (func (param "model" (borrow $m)) (result (result (own $f) (error $e)))))
    (export "[method]kv-file.idle" (func (param "self" (borrow $f)) (result (own $p))))))
  (alias export $kvfs "kv-file" (type $kv-file))

  (import "symphony:lip/constraint@0.1.0" (instance $constraint (export "constraint" (type (sub resource)))))
  (alias export $constraint "constraint" (type $constraint-type))

  (import "symphony:lip/infer@0.1.0" (instance $infer
    (export "error" (type $e (eq $error)))
    (export "ranked" (type $r (eq $ranked)))
    (export "kv-file" (type $f (eq $kv-file)))
    (type $sampling' (record (field "temperature" (option f32)) (field "top-k" (option u32)) (field "top-p" (option f32))
      (field "min-p" (option f32)) (field "repetition-penalty" (option f32)) (field "presence-penalty" (option f32))
      (field "frequency-penalty" (option f32)) (field "logit-bias" (option $r)) (field "seed" (option u64))))
    (export "sampling" (type $sampling (eq $sampling')))
    (type $outputs' (variant (case "last") (case "every") (case "at" (list u32)) (case "none")))
    (export "outputs" (type $outputs (eq $outputs')))
    (export "constraint" (type $c (eq $constraint-type)))
    (type $allowed' (variant (case "mask" (list u32)) (case "constraint" (borrow $c))))
    (export "allowed-tokens" (type $allowed (eq $allowed')))
    (type $readings' (record (field "sample" (option $sampling)) (field "top-k" (option u32))
      (field "logprobs" (option (list u32))) (field "entropy" bool) (field "allowed" (option $allowed))))
    (export "readings" (type $readings (eq $readings')))
    (type $distribution' (record (field "sampled" (option u32)) (field "top" (option $r))
      (field "logprobs" (option (list f32))) (field "entropy" (option f32))))
    (export "distribution" (type $distribution (eq $distribution')))
    (export "prediction" (type $prediction (sub resource)))
    (export "pred" (func (param "file" (borrow $f)) (param "tokens" (list u32)) (param "outputs" $outputs)
      (param "readings" $readings) (result (result (own $prediction) (error $e)))))
    (export "[method]prediction.get" (func (param "self" (borrow $prediction))
      (result (option (result (list $distribution) (error $e))))))))
  (alias export $infer "prediction" (type $prediction))

  (core module $libc
    (memory (export "memory") 2)
    (global $top (mut i32) (i32.const 0x10000))
    (func (export "reset") (global.set $top (i32.const 0x10000)))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $p i32)
      (local.set $p (i32.and (i32.add (global.get $top) (i32.const 15)) (i32.const -16)))
      (global.set $top (i32.add (local.get $p) (local.get 3)))
      (local.get $p)))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $mem))
  (alias core export $libc "realloc" (core func $realloc))

  (core func $poll (canon lower (func $poll "poll") (memory $mem) (realloc $realloc)))
  (core func $open (canon lower (func $model "[static]model.open") (memory $mem) (realloc $realloc)))
  (core func $create (canon lower (func $kvfs "[static]kv-file.create") (memory $mem) (realloc $realloc)))
  (core func $idle (canon lower (func $kvfs "[method]kv-file.idle")))
  (core func $pred (canon lower (func $infer "pred") (memory $mem) (realloc $realloc)))
  (core func $get (canon lower (func $infer "[method]prediction.get") (memory $mem) (realloc $realloc)))
  (core func $drop (canon resource.drop $prediction))

  ;; Memory: 0 run's return area, 64 digits, 128 return areas, 256 the idle pollable's handle, 260 the token,
  ;; 512 pred's arguments: file @512, tokens @516, outputs @524 (0: last), readings @536 with `sample` (some, all none).
  (core module $main
    (import "libc" "memory" (memory 1))
    (import "libc" "reset" (func $reset))
    (import "host" "poll" (func $poll (param i32 i32 i32)))
    (import "host" "open" (func $open (param i32 i32 i32 i32)))
    (import "host" "create" (func $create (param i32 i32)))
    (import "host" "idle" (func $idle (param i32) (result i32)))
    (import "host" "pred" (func $pred (param i32 i32)))
    (import "host" "get" (func $get (param i32 i32)))
    (import "host" "drop" (func $drop (param i32)))
    (func $number (param $v i32) (result i32) (local $p i32)
      (local.set $p (i32.const 100))
      (loop $l
        (local.set $p (i32.sub (local.get $p) (i32.const 1)))
        (i32.store8 (local.get $p) (i32.add (i32.const 48) (i32.rem_u (local.get $v) (i32.const 10))))
        (local.set $v (i32.div_u (local.get $v) (i32.const 10)))
        (br_if $l (local.get $v)))
      (i32.store (i32.const 0) (i32.const 0))
      (i32.store (i32.const 4) (local.get $p))
      (i32.store (i32.const 8) (i32.sub (i32.const 100) (local.get $p)))
      (i32.const 0))
    ;; The handle in the result at 128, or a trap.
    (func $owned (result i32)
      (if (i32.load8_u (i32.const 128)) (then (unreachable)))
      (i32.load (i32.const 132)))
    (func (export "run") (param $p i32) (param $n i32) (result i32) (local $count i32) (local $prediction i32)
      (block $parsed (loop $l
        (br_if $parsed (i32.eqz (local.get $n)))
        (if (i32.lt_u (i32.sub (i32.load8_u (local.get $p)) (i32.const 48)) (i32.const 10)) (then
          (local.set $count (i32.add (i32.mul (local.get $count) (i32.const 10))
            (i32.sub (i32.load8_u (local.get $p)) (i32.const 48))))))
        (local.set $p (i32.add (local.get $p) (i32.const 1)))
        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (br $l)))
      (call $open (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 128))
      (call $create (call $owned) (i32.const 128))
      (i32.store (i32.const 512) (call $owned))
      (i32.store (i32.const 256) (call $idle (i32.load (i32.const 512))))
      (i32.store (i32.const 260) (i32.const 1))                       ;; the first token
      (i32.store (i32.const 516) (i32.const 260)) (i32.store (i32.const 520) (i32.const 1))
      (i32.store8 (i32.const 536) (i32.const 1))                      ;; readings.sample: some
      (loop $token
        (call $reset)
        (call $pred (i32.const 512) (i32.const 128))
        (local.set $prediction (call $owned))
        (call $poll (i32.const 256) (i32.const 1) (i32.const 128))
        (call $get (local.get $prediction) (i32.const 128))
        (if (i32.eqz (i32.load8_u (i32.const 128))) (then (unreachable)))   ;; none: not ready
        (if (i32.load8_u (i32.const 132)) (then (unreachable)))             ;; an error
        (i32.store (i32.const 260) (i32.load (i32.add (i32.load (i32.const 136)) (i32.const 4))))
        (call $drop (local.get $prediction))
        (br_if $token (local.tee $count (i32.sub (local.get $count) (i32.const 1)))))
      (call $number (i32.load (i32.const 260)))))
  (core instance $main (instantiate $main
    (with "libc" (instance $libc))
    (with "host" (instance (export "poll" (func $poll)) (export "open" (func $open)) (export "create" (func $create))
      (export "idle" (func $idle)) (export "pred" (func $pred)) (export "get" (func $get)) (export "drop" (func $drop))))))
  (func (export "run") (param "args" string) (result (result string (error string)))
    (canon lift (core func $main "run") (memory $mem) (realloc $realloc)))
)
