# Rows of "what <tab> measured <tab> target <tab> note" to the table that `make bench` prints. A target is
# a limit: what is measured must not be above it.

BEGIN { FS = "\t" }

NF >= 2 {
    what[++count] = $1
    measured[count] = $2
    target[count] = $3 == "" ? "" : "<= " $3
    verdict[count] = $3 == "" ? "" : $2 + 0 <= $3 + 0 ? "met" : "NOT met"
    remark[count] = $4
    missed += verdict[count] == "NOT met"
    judged += $3 != ""
    w1 = max(w1, length($1))
    w2 = max(w2, length($2))
    w3 = max(w3, length(target[count]))
}

END {
    w1 = max(w1, length("what"))
    w2 = max(w2, length("measured"))
    w3 = max(w3, length("target"))
    line("what", "measured", "target", "verdict", "")
    for (i = 1; i <= count; i++)
        line(what[i], measured[i], target[i], verdict[i], remark[i])
    if (judged > 0)
        printf "%d of %d targets met\n", judged - missed, judged
}

function max(a, b) { return a > b ? a : b }

function line(a, b, c, d, e) {
    text = sprintf("%-*s  %*s  %-*s  %-7s  %s", w1, a, w2, b, w3, c, d, e)
    sub(/ +$/, "", text)
    print text
}
