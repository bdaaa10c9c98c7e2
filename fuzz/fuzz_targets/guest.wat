;; A guest that does what a script says: every import with any arguments, any value from every export.
;; The script comes as the saved state; each export takes what it does next from it. When the
;; script has ended, the guest is a good one.
(module
  (import "env" "cast_asm" (func $cast (param i32 i32 i32 i32)))
  (import "env" "cast_raw_asm" (func $cast_raw (param i32 i32 i32 i32)))
  (import "env" "call_asm" (func $call (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "call_raw_asm" (func $call_raw (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "delayed_cast_asm" (func $delayed (param i64 i32 i32 i32 i32)))
  (import "env" "telemetry_log_asm" (func $log (param i32 i32 i32 i32 i32)))
  (import "env" "slf_asm" (func $slf (param i32 i32)))
  (import "env" "sync_asm" (func $sync (param i32 i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "out")
  (data (i32.const 8) "self")
  ;; Ids: at 16 nobody's, at 32 and 48 those that `slf_asm` may write.
  (global $next (mut i32) (i32.const 8192))
  (global $script (mut i32) (i32.const 0))
  (global $end (mut i32) (i32.const 0))

  ;; The next byte of the script; 0 when it has ended.
  (func $byte (result i32)
    (if (i32.ge_u (global.get $script) (global.get $end)) (then (return (i32.const 0))))
    (global.set $script (i32.add (global.get $script) (i32.const 1)))
    (i32.load8_u (i32.sub (global.get $script) (i32.const 1))))

  ;; The next value: often one that lies near a bound.
  (func $value (result i32)
    (local $form i32)
    (local.set $form (i32.and (call $byte) (i32.const 7)))
    (block $raw (block $edge (block $large (block $small (block $below (block $top (block $nearly (block $zero
      (br_table $zero $small $top $below $nearly $large $edge $raw (local.get $form)))
      (return (i32.const 0)))
      (return (i32.sub (i32.const 0x7fffffff) (call $byte))))
      (return (i32.sub (i32.mul (memory.size) (i32.const 65536)) (call $byte))))
      (return (i32.sub (i32.const 0) (call $byte))))
      (return (call $byte)))
      (return (i32.mul (call $byte) (i32.const 1024))))
      (return (i32.mul (i32.and (call $byte) (i32.const 7)) (i32.const 8))))
    (i32.or
      (i32.or (call $byte) (i32.shl (call $byte) (i32.const 8)))
      (i32.or (i32.shl (call $byte) (i32.const 16)) (i32.shl (call $byte) (i32.const 24)))))

  ;; Does without end what uses up the stack.
  (func $deep (param i32) (result i32)
    (i32.add (call $deep (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))

  ;; Does what the script says next; 0: that is all for now.
  (func $act (result i32)
    (local $n i32) (local $p i32) (local $l i32)
    (block $end (block $cast (block $cast_raw (block $call (block $call_raw (block $delayed (block $log
    (block $slf (block $sync (block $trap (block $grow (block $store (block $deep (block $loop (block $well
      (br_table $end $cast $cast_raw $call $call_raw $delayed $log $slf $sync $trap $grow $store $deep $loop
        $well (i32.and (call $byte) (i32.const 15))))
      ;; $well: a call to the one who answers, as it should be.
      (drop (call $call (i32.const 0) (i32.const 3) (call $value) (i32.and (call $value) (i32.const 255))
        (i32.const 64) (i32.const 68)))
      (return (i32.const 1)))
      ;; $loop: the same over and over, or for ever.
      (local.set $n (i32.and (call $value) (i32.const 0xffff)))
      (local.set $p (call $value))
      (local.set $l (call $value))
      (loop $again
        (call $cast (i32.const 0) (i32.const 3) (local.get $p) (local.get $l))
        (call $log (i32.const 5) (i32.const 0) (i32.const 3) (local.get $p) (local.get $l))
        (call $delayed (i64.const 1) (i32.const 8) (i32.const 4) (local.get $p) (local.get $l))
        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (br_if $again (i32.gt_s (local.get $n) (i32.const 0))))
      (if (i32.eq (call $byte) (i32.const 253)) (then (loop $ever (br $ever))))
      (return (i32.const 1)))
      (if (i32.eq (call $byte) (i32.const 1)) (then (drop (call $deep (i32.const 0)))))
      (return (i32.const 1)))
      (i32.store8 (call $value) (call $byte))
      (return (i32.const 1)))
      (drop (memory.grow (call $byte)))
      (return (i32.const 1)))
      (unreachable))
      (call $sync (call $value) (call $value))
      (return (i32.const 1)))
      (call $slf (call $value) (call $value))
      (return (i32.const 1)))
      (call $log (call $value) (call $value) (call $value) (call $value) (call $value))
      (return (i32.const 1)))
      (call $delayed
        (i64.or (i64.extend_i32_u (call $value)) (i64.shl (i64.extend_i32_u (call $value)) (i64.const 32)))
        (call $value) (call $value) (call $value) (call $value))
      (return (i32.const 1)))
      (drop (call $call_raw (call $value) (call $value) (call $value) (call $value) (call $value) (call $value)))
      (return (i32.const 1)))
      (drop (call $call (call $value) (call $value) (call $value) (call $value) (call $value) (call $value)))
      (return (i32.const 1)))
      (call $cast_raw (call $value) (call $value) (call $value) (call $value))
      (return (i32.const 1)))
      (call $cast (call $value) (call $value) (call $value) (call $value))
      (return (i32.const 1)))
    (i32.const 0))

  (func $run
    (loop $on (br_if $on (call $act))))

  ;; Hands memory out; or does something else, and says anything.
  (func (export "edgeless_mem_alloc") (param $n i32) (result i32)
    (local $p i32)
    (if (i32.eq (i32.and (call $byte) (i32.const 7)) (i32.const 5))
      (then (call $run) (return (call $value))))
    (local.set $p (global.get $next))
    (global.set $next (i32.add (global.get $next) (i32.add (local.get $n) (i32.const 8))))
    (local.get $p))
  (func (export "edgeless_mem_free") (param i32 i32)
    (if (i32.eq (i32.and (call $byte) (i32.const 7)) (i32.const 5)) (then (call $run))))
  (func (export "edgeless_mem_clear")
    (if (i32.eq (i32.and (call $byte) (i32.const 7)) (i32.const 5)) (then (call $run)))
    (global.set $next (i32.const 8192)))
  (func (export "handle_init_asm") (param $p i32) (param $pl i32) (param $s i32) (param $sl i32)
    (global.set $script (local.get $s))
    (global.set $end (i32.add (local.get $s) (local.get $sl)))
    (call $run))
  (func (export "handle_cast_asm") (param $n i32) (param $c i32) (param $p i32) (param $l i32)
    (call $run))
  (func (export "handle_call_asm") (param $n i32) (param $c i32) (param $p i32) (param $l i32)
    (param $op i32) (param $ol i32) (result i32)
    (call $run)
    (if (i32.eqz (i32.and (call $byte) (i32.const 1)))
      (then
        (i32.store (local.get $op) (call $value))
        (i32.store (local.get $ol) (call $value))))
    (call $value))
  (func (export "handle_stop_asm")
    (call $run)))
