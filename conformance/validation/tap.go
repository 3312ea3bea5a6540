// Package tap prints test results as TAP lines. It stands in for the one library of the validation suite that Debian
// does not package (github.com/mndrix/tap-go): the same names, written for this project. Diagnostic blocks are printed
// as comments, each on one line, so that every TAP reader accepts the output and our runner can find the errors.
package tap

import (
	"encoding/json"
	"fmt"
	"strings"
)

// T counts the results of one program.
type T struct {
	count int
	todo  bool // the next result is of a test that is not finished
}

// New starts a program's report.
func New() *T { return &T{} }

// Header prints the version line, and the plan if the number of tests is known.
func (t *T) Header(tests int) {
	fmt.Println("TAP version 13")
	if tests > 0 {
		fmt.Printf("1..%d\n", tests)
	}
}

// AutoPlan prints the plan after the tests: as many as there were.
func (t *T) AutoPlan() { fmt.Printf("1..%d\n", t.count) }

// Ok reports one test.
func (t *T) Ok(passed bool, description string) {
	t.count++
	verdict := "ok"
	if !passed {
		verdict = "not ok"
	}
	separator := "-"
	if t.todo {
		separator, t.todo = "# TODO", false
	}
	// A line break in a description would end the TAP line.
	fmt.Printf("%s %d %s %s\n", verdict, t.count, separator, strings.ReplaceAll(description, "\n", " "))
}

// Todo marks the next result as one that does not count.
func (t *T) Todo() *T {
	t.todo = true
	return t
}

// Pass reports a test that passed.
func (t *T) Pass(description string) { t.Ok(true, description) }

// Fail reports a test that failed.
func (t *T) Fail(description string) { t.Ok(false, description) }

// Skip reports tests that were not run.
func (t *T) Skip(tests int, reason string) {
	for ; tests > 0; tests-- {
		t.count++
		fmt.Printf("ok %d # SKIP %s\n", t.count, strings.ReplaceAll(reason, "\n", " "))
	}
}

// Diagnostic prints a remark for people.
func (t *T) Diagnostic(text string) {
	for _, line := range strings.Split(text, "\n") {
		fmt.Println("# " + line)
	}
}

// Diagnosticf is Diagnostic with a format.
func (t *T) Diagnosticf(format string, args ...interface{}) {
	t.Diagnostic(fmt.Sprintf(format, args...))
}

// YAML prints structured details of the test before it, as one comment line of JSON.
func (t *T) YAML(details interface{}) error {
	line, err := json.Marshal(details)
	if err == nil {
		fmt.Println("# details " + string(line))
	}
	return err
}
