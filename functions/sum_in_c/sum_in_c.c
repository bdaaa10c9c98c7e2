// Adds up the whole numbers it is sent, and sends the sum on; the sum survives restarts and migrations.
#include "../sdk_c/edgeless.h"

static uint64_t sum;

// Digits of the sum, from the end of `text`; how many.
static size_t digits(char text[20]) {
    size_t count = 0;
    uint64_t rest = sum;
    do {
        count++;
        text[20 - count] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    return count;
}

static void add(edgeless_bytes payload) {
    uint64_t number = 0;
    for (size_t index = 0; index < payload.length; index++) {
        uint8_t digit = (uint8_t)(payload.at[index] - '0');
        if (digit > 9) {
            edgeless_log(EDGELESS_WARN, "sum", "left out: not a whole number");
            return;
        }
        number = number * 10 + digit;
    }
    sum += number;
    edgeless_save(&sum, sizeof sum);
}

void edgeless_on_init(edgeless_bytes payload, edgeless_bytes state) {
    (void)payload;
    sum = 0;
    for (size_t index = 0; index < state.length && index < sizeof sum; index++) {
        ((uint8_t *)&sum)[index] = state.at[index];
    }
}

void edgeless_on_cast(edgeless_id source, edgeless_bytes payload) {
    (void)source;
    char text[20];
    add(payload);
    size_t count = digits(text);
    edgeless_cast("out", text + 20 - count, count);
}

edgeless_answer edgeless_on_call(edgeless_id source, edgeless_bytes payload) {
    (void)source;
    static char text[20];
    add(payload);
    size_t count = digits(text);
    edgeless_answer answer = {0};
    answer.is_some = 1;
    answer.bytes = (edgeless_bytes){(uint8_t *)text + 20 - count, count};
    return answer;
}

void edgeless_on_stop(void) {}
