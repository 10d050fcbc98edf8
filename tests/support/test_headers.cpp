// Has nothing but what it precompiles for the tests.
int main() { return 0; }
