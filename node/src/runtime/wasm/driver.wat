;; Drives a guest: one call that lasts as long as the guest lives, so that no event pays for a stack, a
;; switch into the host for each piece of memory, or a look-up.
(module
  ;; Waits for what is next: kind (0 cast, 1 call, 2 stop) and length of the event, ids included.
  (import "host" "next" (func $next (result i32 i32)))
  ;; Writes the event to a pointer.
  (import "host" "fill" (func $fill (param i32)))
  ;; Clears the place for the address and length of an answer.
  (import "host" "place" (func $place (param i32)))
  ;; Takes the answer; gives the range that it lies in.
  (import "host" "answer" (func $answer (param i32 i32) (result i32 i32)))
  (import "guest" "edgeless_mem_alloc" (func $alloc (param i32) (result i32)))
  (import "guest" "edgeless_mem_free" (func $free (param i32 i32)))
  (import "guest" "edgeless_mem_clear" (func $clear))
  (import "guest" "handle_cast_asm" (func $cast (param i32 i32 i32 i32)))
  (import "guest" "handle_call_asm" (func $call (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "guest" "handle_stop_asm" (func $stop))

  (func (export "run")
    (local $kind i32) (local $length i32) (local $event i32)
    (local $out i32) (local $pointer i32) (local $bytes i32)
    (loop $events
      (call $next)
      (local.set $length)
      (local.set $kind)
      (if (i32.eq (local.get $kind) (i32.const 2))
        (then (call $stop) (return)))
      (local.set $event (call $alloc (local.get $length)))
      (call $fill (local.get $event))
      (if (i32.eqz (local.get $kind))
        (then
          (call $cast
            (local.get $event)
            (i32.add (local.get $event) (i32.const 16))
            (i32.add (local.get $event) (i32.const 32))
            (i32.sub (local.get $length) (i32.const 32))))
        (else
          (local.set $out (call $alloc (i32.const 8)))
          (call $place (local.get $out))
          (call $call
            (local.get $event)
            (i32.add (local.get $event) (i32.const 16))
            (i32.add (local.get $event) (i32.const 32))
            (i32.sub (local.get $length) (i32.const 32))
            (local.get $out)
            (i32.add (local.get $out) (i32.const 4)))
          (call $answer (local.get $out))
          (local.set $bytes)
          (local.set $pointer)
          (if (local.get $bytes)
            (then (call $free (local.get $pointer) (local.get $bytes))))
          (call $free (local.get $out) (i32.const 8))))
      (call $free (local.get $event) (local.get $length))
      (call $clear)
      (br $events))))
