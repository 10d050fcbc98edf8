# The example of embedding in README.md is, line by line, the program that the tests compile.
# Run with -D SOURCE_DIR=...
file(READ "${SOURCE_DIR}/README.md" readme)
file(READ "${SOURCE_DIR}/tests/consumer/main.cpp" program)
string(FIND "${readme}" "```cpp\n${program}```" found)
if(found EQUAL -1)
  message(FATAL_ERROR "README.md does not hold tests/consumer/main.cpp as it is")
endif()
