# Shrinkage intensities and covariance of the Roman glass cups by corpcor (GPL; run by hand, only its numbers are kept).
# Needs R with corpcor and the table roman_glass_cups.csv in the folder named by CAUSALKIT_DATA:
#   Rscript tests/golden/composition/make_corpcor.R > tests/golden/composition/corpcor.json
suppressMessages(library(corpcor))
X <- as.matrix(read.csv(file.path(Sys.getenv("CAUSALKIT_DATA"), "roman_glass_cups.csv")))
logs <- log(X / rowSums(X))
clr <- logs - rowMeans(logs)
one <- function(x, w) {
  if (is.null(w)) v <- cov.shrink(x, verbose = FALSE) else v <- cov.shrink(x, w = w, verbose = FALSE)
  list(lambda = attr(v, "lambda"), lambda_var = attr(v, "lambda.var"), cov = matrix(as.numeric(v), ncol(x)))
}
w <- seq_len(nrow(X)); w <- w / sum(w)
results <- list(logs = one(logs, NULL), logs_weighted = one(logs, w), clr = one(clr, NULL))
number <- function(x) format(x, digits = 17, scientific = TRUE)
entry <- function(r) paste0('{"lambda": ', number(r$lambda), ', "lambda_var": ', number(r$lambda_var), ', "cov": [',
  paste(apply(r$cov, 1, function(row) paste0("[", paste(sapply(row, number), collapse = ", "), "]")), collapse = ", "), "]}")
cat('{"versions": "R ', paste(R.version$major, R.version$minor, sep = "."), ", corpcor ",
  as.character(packageVersion("corpcor")), '"', sep = "")
for (name in names(results)) cat(',\n"', name, '": ', entry(results[[name]]), sep = "")
cat("}\n")
