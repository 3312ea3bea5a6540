/*
 * The oracle of the seccomp tests: says through libseccomp what a container runtime that uses it would load.
 * Reads commands, one a line, and writes the filter (binary) or numbers (text) to stdout. Complains on stderr.
 *
 *   default ACTION               first; SECCOMP_RET_* numbers
 *   badarch ACTION
 *   only ARCH | arch ARCH        this one instead of the native one; this one too
 *   optimize LEVEL
 *   rule ACTION NAME N (ARG OP A B)*   as runc adds them; prints "unknown NAME" on stderr if it knows no such call
 *   export
 *   resolve ARCH NAME            prints the number, or -1
 */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static scmp_filter_ctx ctx;

static void check(int rc, const char *what)
{
	if (rc == 0)
		return;
	fprintf(stderr, "failed %s: %s\n", what, strerror(-rc));
	exit(1);
}

static void rule(char *words)
{
	struct scmp_arg_cmp args[6];
	unsigned action, count, arg, op;
	unsigned long long a, b;
	char name[64], *back;
	int read, nr, at = 0;

	if (sscanf(words, "%u %63s %u%n", &action, name, &count, &at) != 3 || count > 6)
		check(-EINVAL, words);
	for (unsigned i = 0; i < count; i++, at += read) {
		if (sscanf(words + at, "%u %u %llu %llu%n", &arg, &op, &a, &b, &read) != 4)
			check(-EINVAL, words);
		args[i] = (struct scmp_arg_cmp){ .arg = arg, .op = op, .datum_a = a, .datum_b = b };
	}
	nr = seccomp_syscall_resolve_name(name);
	back = seccomp_syscall_resolve_num_arch(seccomp_arch_native(), nr);
	/* Calls of other machines have stand-in numbers, and 2.5.4 gives one of them to two calls. */
	if (nr == __NR_SCMP_ERROR || back == NULL || strcmp(back, name) != 0)
		fprintf(stderr, "unknown %s\n", name);
	else
		check(seccomp_rule_add_array(ctx, action, nr, count, args), words);
	free(back);
}

int main(void)
{
	char line[1024], word[64];
	unsigned number;

	/* From some mixtures of rules libseccomp never comes back. */
	setrlimit(RLIMIT_CPU, &(struct rlimit){ 5, 5 });
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = 0;
		if (sscanf(line, "default %u", &number) == 1)
			ctx = seccomp_init(number);
		else if (sscanf(line, "badarch %u", &number) == 1)
			check(seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, number), line);
		else if (sscanf(line, "optimize %u", &number) == 1)
			check(seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, number), line);
		else if (sscanf(line, "only %63s", word) == 1) {
			check(seccomp_arch_remove(ctx, seccomp_arch_native()), line);
			check(seccomp_arch_add(ctx, seccomp_arch_resolve_name(word)), line);
		} else if (sscanf(line, "arch %63s", word) == 1) {
			int rc = seccomp_arch_add(ctx, seccomp_arch_resolve_name(word));
			check(rc == -EEXIST ? 0 : rc, line);
		} else if (strncmp(line, "rule ", 5) == 0)
			rule(line + 5);
		else if (strcmp(line, "export") == 0)
			check(seccomp_export_bpf(ctx, 1), line);
		else if (strncmp(line, "resolve ", 8) == 0) {
			char name[64];
			if (sscanf(line, "resolve %63s %63s", word, name) != 2)
				check(-EINVAL, line);
			printf("%d\n", seccomp_syscall_resolve_name_arch(seccomp_arch_resolve_name(word), name));
		} else
			check(-EINVAL, line);
	}
	return 0;
}
