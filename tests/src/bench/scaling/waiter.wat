;; A function whose handling takes as long as a server outside says, and no processor: it calls the `http-egress` of its
;; node with what it is given, as it is.
;;
;; `init-payload`: `o` answers with what came in (tasks of orders), `h` with the response (requests of `http-ingress`);
;; then a character that takes the place of the first `~` of what is given in the request; then for each node its id and that of the instance there, 32 hexadecimal digits each; then, where its start is to
;; take a while, `;` and the request to be made at the start.
(module
  (import "env" "call_raw_asm" (func $call_raw (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "slf_asm" (func $slf (param i32 i32)))
  (memory (export "memory") 16)
  ;; 0: the own node, 16: the own id; 32: the node and id that are called; 64: where an answer is, 68: how long it is.
  (global $heap (mut i32) (i32.const 1024))
  (global $kind (mut i32) (i32.const 0))
  (global $step (mut i32) (i32.const 0))

  (func $nibble (param $c i32) (result i32)
    (if (result i32) (i32.lt_u (local.get $c) (i32.const 58))
      (then (i32.sub (local.get $c) (i32.const 48)))
      (else (i32.sub (local.get $c) (i32.const 87)))))

  ;; 64 digits to the 32 bytes at 32.
  (func $decode (param $from i32)
    (local $i i32)
    (loop $more
      (i32.store8 (i32.add (i32.const 32) (local.get $i))
        (i32.or
          (i32.shl (call $nibble (i32.load8_u (local.get $from))) (i32.const 4))
          (call $nibble (i32.load8_u (i32.add (local.get $from) (i32.const 1))))))
      (local.set $from (i32.add (local.get $from) (i32.const 2)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $more (i32.lt_u (local.get $i) (i32.const 32)))))

  (func $is_here (result i32)
    (i32.and
      (i64.eq (i64.load (i32.const 0)) (i64.load (i32.const 32)))
      (i64.eq (i64.load (i32.const 8)) (i64.load (i32.const 40)))))

  (func $ask (param $payload i32) (param $length i32) (result i32)
    (call $call_raw (i32.const 32) (i32.const 48) (local.get $payload) (local.get $length)
      (i32.const 64) (i32.const 68)))

  (func (export "handle_init_asm") (param $at i32) (param $length i32) (param i32 i32)
    (local $end i32)
    (local.set $end (i32.add (local.get $at) (local.get $length)))
    (call $slf (i32.const 0) (i32.const 16))
    (global.set $kind (i32.load8_u (local.get $at)))
    (global.set $step (i32.load8_u (i32.add (local.get $at) (i32.const 1))))
    (local.set $at (i32.add (local.get $at) (i32.const 2)))
    (loop $next
      ;; Nobody is called on this node.
      (if (i32.gt_u (i32.add (local.get $at) (i32.const 64)) (local.get $end)) (then unreachable))
      (call $decode (local.get $at))
      (local.set $at (i32.add (local.get $at) (i32.const 64)))
      (br_if $next (i32.eqz (call $is_here))))
    (block $done
      (loop $skip
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (if (i32.ne (i32.load8_u (local.get $at)) (i32.const 59))
          (then
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br $skip))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (if (i32.ne (call $ask (local.get $at) (i32.sub (local.get $end) (local.get $at))) (i32.const 1))
        (then unreachable))))

  ;; Where the first `~` is; the end where there is none.
  (func $mark (param $at i32) (param $length i32) (result i32)
    (local $end i32)
    (local.set $end (i32.add (local.get $at) (local.get $length)))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (br_if $done (i32.eq (i32.load8_u (local.get $at)) (i32.const 126)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (local.get $at))

  (func (export "handle_cast_asm") (param i32 i32 i32 i32))

  (func (export "handle_call_asm")
    (param i32 i32) (param $payload i32) (param $length i32) (param $out i32) (param $out_length i32) (result i32)
    (local $mark i32)
    (local $is_marked i32)
    (local.set $mark (call $mark (local.get $payload) (local.get $length)))
    (local.set $is_marked
      (i32.lt_u (local.get $mark) (i32.add (local.get $payload) (local.get $length))))
    (if (local.get $is_marked) (then (i32.store8 (local.get $mark) (global.get $step))))
    (if (i32.ne (call $ask (local.get $payload) (local.get $length)) (i32.const 1))
      (then (return (i32.const 2))))
    (if (local.get $is_marked) (then (i32.store8 (local.get $mark) (i32.const 126))))
    (if (i32.eq (global.get $kind) (i32.const 104))
      (then
        (local.set $payload (i32.load (i32.const 64)))
        (local.set $length (i32.load (i32.const 68)))))
    (i32.store (local.get $out) (local.get $payload))
    (i32.store (local.get $out_length) (local.get $length))
    (i32.const 1))

  (func (export "handle_stop_asm"))

  (func (export "edgeless_mem_alloc") (param $length i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $heap))
    (global.set $heap
      (i32.and (i32.add (i32.add (local.get $at) (local.get $length)) (i32.const 7)) (i32.const -8)))
    (local.get $at))
  (func (export "edgeless_mem_free") (param i32 i32))
  (func (export "edgeless_mem_clear") (global.set $heap (i32.const 1024))))
