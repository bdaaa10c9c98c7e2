// A function in C, as a component of the world in `node/wit`: implement the four functions at the end, and
// include this file once. Memory that is handed out lasts until the event is handled.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const uint8_t *at;
    size_t length;
} edgeless_bytes;

typedef struct {
    uint64_t node_high, node_low, instance_high, instance_low;
} edgeless_id;

typedef enum { EDGELESS_ERROR, EDGELESS_WARN, EDGELESS_INFO, EDGELESS_DEBUG, EDGELESS_TRACE } edgeless_level;

// What the host gives.

#define EDGELESS_IMPORT(interface, name) \
    __attribute__((import_module("edgeless:guest/" interface "@0.1.0"), import_name(name)))

EDGELESS_IMPORT("messages", "cast")
void edgeless_raw_cast(const char *channel, size_t channel_length, const void *at, size_t length);
EDGELESS_IMPORT("messages", "call")
void edgeless_raw_call(const char *channel, size_t channel_length, const void *at, size_t length, void *result);
EDGELESS_IMPORT("messages", "delayed-cast")
void edgeless_raw_delayed_cast(uint64_t delay_ms, const char *channel, size_t channel_length, const void *at, size_t length);
EDGELESS_IMPORT("logs", "log")
void edgeless_raw_log(int32_t level, const char *target, size_t target_length, const char *text, size_t length);
EDGELESS_IMPORT("state", "save")
void edgeless_save(const void *at, size_t length);

static inline size_t edgeless_length(const char *text) {
    size_t length = 0;
    while (text[length]) length++;
    return length;
}

static inline void edgeless_cast(const char *channel, const void *at, size_t length) {
    edgeless_raw_cast(channel, edgeless_length(channel), at, length);
}

static inline void edgeless_delayed_cast(uint64_t delay_ms, const char *channel, const void *at, size_t length) {
    edgeless_raw_delayed_cast(delay_ms, channel, edgeless_length(channel), at, length);
}

static inline void edgeless_log(edgeless_level level, const char *target, const char *text) {
    edgeless_raw_log(level, target, edgeless_length(target), text, edgeless_length(text));
}

// An answer: an error in words, or some bytes, or none.
typedef struct {
    uint8_t is_error;
    union {
        struct {
            uint8_t is_some;
            edgeless_bytes bytes;
        };
        edgeless_bytes text;
    };
} edgeless_answer;

static inline edgeless_answer edgeless_call(const char *channel, const void *at, size_t length) {
    edgeless_answer answer;
    edgeless_raw_call(channel, edgeless_length(channel), at, length, &answer);
    return answer;
}

// What the function gives. `at` of a payload or state that is absent is null.

void edgeless_on_init(edgeless_bytes payload, edgeless_bytes state);
void edgeless_on_cast(edgeless_id source, edgeless_bytes payload);
edgeless_answer edgeless_on_call(edgeless_id source, edgeless_bytes payload);
void edgeless_on_stop(void);

// Memory of an event: handed out one piece after the other, and all taken back in the end.

extern uint8_t __heap_base;
static uintptr_t edgeless_top;

static inline void edgeless_clear(void) {
    edgeless_top = (uintptr_t)&__heap_base;
}

__attribute__((export_name("cabi_realloc")))
void *edgeless_realloc(void *old, size_t old_size, size_t align, size_t size) {
    const size_t page = 65536;
    if (!edgeless_top) edgeless_clear();
    uintptr_t start = (edgeless_top + align - 1) & ~(uintptr_t)(align - 1);
    uintptr_t have = __builtin_wasm_memory_size(0) * page;
    if (size > UINTPTR_MAX - start) __builtin_trap();
    if (start + size > have) {
        size_t pages = (start + size - have + page - 1) / page;
        if (__builtin_wasm_memory_grow(0, pages) == (size_t)-1) __builtin_trap();
    }
    edgeless_top = start + size;
    for (size_t index = 0; index < old_size && index < size; index++) {
        ((uint8_t *)start)[index] = ((uint8_t *)old)[index];
    }
    return (void *)start;
}

// What the host calls.

__attribute__((export_name("init")))
void edgeless_raw_init(int32_t has_payload, const uint8_t *payload, size_t payload_length,
                       int32_t has_state, const uint8_t *state, size_t state_length) {
    edgeless_bytes none = {NULL, 0};
    edgeless_on_init(has_payload ? (edgeless_bytes){payload, payload_length} : none,
                     has_state ? (edgeless_bytes){state, state_length} : none);
    edgeless_clear();
}

__attribute__((export_name("handle-cast")))
void edgeless_handle_cast(uint64_t nh, uint64_t nl, uint64_t ih, uint64_t il, const uint8_t *at, size_t length) {
    edgeless_on_cast((edgeless_id){nh, nl, ih, il}, (edgeless_bytes){at, length});
    edgeless_clear();
}

__attribute__((export_name("handle-call")))
edgeless_answer *edgeless_handle_call(uint64_t nh, uint64_t nl, uint64_t ih, uint64_t il, const uint8_t *at, size_t length) {
    static edgeless_answer answer;
    answer = edgeless_on_call((edgeless_id){nh, nl, ih, il}, (edgeless_bytes){at, length});
    return &answer;
}

// The host has read the answer.
__attribute__((export_name("cabi_post_handle-call")))
void edgeless_post_call(void *answer) {
    (void)answer;
    edgeless_clear();
}

__attribute__((export_name("stop")))
void edgeless_raw_stop(void) {
    edgeless_on_stop();
}
