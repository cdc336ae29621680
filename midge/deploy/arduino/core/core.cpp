// The functions behind Arduino.h, and the main program: setup and one turn of the loop.
#include "Arduino.h"

#include "say.h"

SemihostingSerial Serial;

// Time stands still: an emulated board has no clock that a sketch could read.
unsigned long millis() { return 0; }
unsigned long micros() { return 0; }

void SemihostingSerial::begin(unsigned long) {}

void SemihostingSerial::print(const char *text) { say(text); }

void SemihostingSerial::print(unsigned long number) {
  char text[21];
  char *start = &text[20];
  *start = 0;
  do
    *--start = static_cast<char>('0' + number % 10);
  while (number /= 10);
  say(start);
}

void SemihostingSerial::println(const char *text) {
  say(text);
  say("\n");
}

SemihostingSerial::operator bool() const { return true; }

extern "C" int main() {
  setup();
  loop();
  return 0;
}
